"""Which way to attend trains faster on this CPU, matrix products or torch's fused kernel: bench_attention.py [--json FILE].

Times the forward and backward pass of `attend` between the projections, as the model calls it, both ways by turns.
`MATMUL_TOKENS` in vit_cli/models/attention.py is set from this.
Other programs on the same cores spoil it; `--threads 1` minds them least.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_cli.device import Precision, autocast
from vit_cli.models.attention import attend_by_products

TOKENS = (17, 65, 197, 401, 577, 1025, 2049)
HEADS = ((3, 64), (6, 64))  # ViT-Ti and ViT-S: heads, width of a head
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
CALL_SECONDS = 0.1
MOST_WEIGHTS = 2**26  # of all (n, n) tables of a batch; 256 MiB in float32, of which training holds a few
CPU = torch.device("cpu")
Way = Callable[[Tensor, Tensor, Tensor, float], Tensor]


class Case(NamedTuple):
    """What is attended to, and in what precision."""

    heads: int
    head_dim: int
    tokens: int
    precision: Precision


def attend_fused(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Attend by torch's own kernel."""
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


def seconds(case: Case, batch: int, attend: Way) -> float:
    """Time one forward and backward pass over `batch` images; on one thread in its own time, whoever else is computing."""
    clock = time.perf_counter if torch.get_num_threads() > 1 else time.thread_time
    width = case.heads * case.head_dim
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    qkv = torch.randn(batch, case.tokens, 3 * width, dtype=dtype, requires_grad=True)
    gradient = torch.randn(batch, case.tokens, width, dtype=dtype)
    begin = clock()
    with autocast(CPU, case.precision):
        q, k, v = qkv.view(batch, case.tokens, 3, case.heads, case.head_dim).permute(2, 0, 3, 1, 4)
        out = attend(q, k, v, 0.0).transpose(1, 2).reshape(batch, case.tokens, width)
    out.backward(gradient)
    return clock() - begin


def choose_batch(case: Case) -> int:
    """Find the batch size at which a call takes about `CALL_SECONDS`, within the memory for its tables."""
    most = max(1, MOST_WEIGHTS // (case.heads * case.tokens**2))
    batch = 1
    while batch < most:
        taken = min(seconds(case, batch, attend_by_products) for _ in range(2))
        if taken > CALL_SECONDS / 2:
            break
        batch = min(most, 2 * batch)
    return batch


class Row(NamedTuple):
    """What a case took: medians of both ways, and of their ratio by turns with its quartiles.

    A ratio above 1 means that matrix products are faster.
    """

    batch: int
    matmul_ms: float
    fused_ms: float
    ratio: float
    low: float
    high: float


def measure(case: Case, rounds: int) -> Row:
    """Time both ways by turns."""
    batch = choose_batch(case)
    ways: list[Way] = [attend_by_products, attend_fused]
    for way in ways:
        seconds(case, batch, way)
    pairs = []
    for number in range(rounds):
        taken = {way: seconds(case, batch, way) for way in (ways if number % 2 else reversed(ways))}
        pairs.append([taken[way] for way in ways])
    ratios = [fused / matmul for matmul, fused in pairs]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    medians = [1000 * statistics.median(column) for column in zip(*pairs, strict=True)]
    return Row(batch, medians[0], medians[1], ratio, low, high)


def main() -> None:
    """Measure every case, print a table, and write the rows if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    facts = {
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": options.threads,
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print("precision  heads  tokens  batch  matmul ms  fused ms  fused / matmul  quartiles")
    rows = []
    for case in [Case(*heads, tokens, precision) for precision in PRECISIONS for heads in HEADS for tokens in TOKENS]:
        row = measure(case, options.rounds)
        rows.append(case._asdict() | row._asdict())
        print(
            f"{case.precision:9}  {case.heads}x{case.head_dim:<3}  {case.tokens:6}  {row.batch:5}  {row.matmul_ms:9.1f}"
            f"  {row.fused_ms:8.1f}  {row.ratio:14.2f}  {row.low:.2f} - {row.high:.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
