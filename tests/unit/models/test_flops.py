"""Operations of a forward and backward pass, against the published table and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models import Cct, Deit, Hybrid, Model, Resnet, Tnt, Vit

SMALL = {"width": 8, "depth": 2, "heads": 2, "patch": 4, "res": 8}


@pytest.mark.parametrize(
    ("size", "gflops"), [("tiny", 7.46), ("small", 27.48), ("base", 105.15), ("large", 369.0), ("huge", 1003.4)]
)
def test_training_costs_what_the_formula_gives(size: str, gflops: float) -> None:
    """3 (L (24 N D^2 + 4 N^2 D) + 2 D C) + 2 patches at 224 pixels: worked out apart from the code, for 197 or 257 tokens."""
    with torch.device("meta"):
        model = Vit(size=size, patch=14 if size == "huge" else 16, res=224).build(1000)
    assert model.training_flops() / 1e9 == pytest.approx(gflops, abs=0.051 if gflops > 200 else 0.0051)


@pytest.mark.parametrize(
    "section",
    [
        Vit(**SMALL, pool="map", head="mlp"),
        Vit(**SMALL, registers=2, ffn="swiglu", pool="gap"),
        Deit(**SMALL),
        Cct(width=8, depth=2, heads=2, mlp=16, res=16),
        Tnt(width=8, inner_width=4, depth=2, heads=2, inner_heads=2, patch=4, res=8),
        Hybrid(width=8, depth=1, heads=2, backbone="stem", patch=1, res=32),
        Resnet(size=18, width=4, res=64),
    ],
    ids=lambda section: section.name,
)
def test_training_costs_what_torch_counts(section: Model) -> None:
    """ConvNeXt is not among them: torch counts the backward pass of grouped convolutions as if they had one group."""
    torch.manual_seed(0)
    model = section.build(5).train()
    model.seen = None  # what is not seen counts, too
    rows, columns = (section.res,) * 2
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.randn(1, 3, rows, columns)).sum().backward()
    assert model.training_flops() == counter.get_total_flops()
