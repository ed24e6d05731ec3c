"""The weights of attention, which a model itself never has: read out by hooks while it runs.

b images, n tokens, d width, h heads, e width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vit_cli.models.attention import Attention, Windows
from vit_cli.models.cct_layers import SequencePool
from vit_cli.models.heads import MapHead
from vit_cli.models.rope import turn
from vit_cli.models.tnt_layers import SplitAttention

See = Callable[[int, Tensor], None]


@contextmanager
def watching(modules: Sequence[nn.Module], see: See) -> Iterator[None]:
    """While the block lasts, give `see` the place of each of these modules that runs, and its weights (b, h, queries, n)."""

    def make_hook(place: int) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            named = {name: value for name, value in named.items() if name != "first"}  # all queries are looked at
            see(place, weigh(module, *arguments, **named))

        return hook

    handles = [
        module.register_forward_pre_hook(make_hook(place), with_kwargs=True) for place, module in enumerate(modules)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def weigh(module: nn.Module, x: Tensor, bias: Tensor | None = None, turns: Tensor | None = None) -> Tensor:
    """Give the weights (b, h, queries, n) by which a module mixes the values of tokens (b, n, d), called with these arguments.

    Pooling has one query; what lies outside a query's window has weight 0. Raises TypeError for a module without attention.
    """
    if isinstance(module, SequencePool):
        return module.score(x).softmax(dim=1).transpose(1, 2)[:, None]
    if isinstance(module, MapHead):
        keys, _ = module.kv(x).chunk(2, dim=-1)
        queries = module.q(module.probe).expand(len(x), -1, -1)
        return score(part(queries, module.heads), part(keys, module.heads)).softmax(dim=-1)
    if isinstance(module, SplitAttention):
        queries, keys = module.qk(x).chunk(2, dim=-1)
        return score(part(queries, module.heads), part(keys, module.heads)).softmax(dim=-1)
    if not isinstance(module, Attention):
        raise TypeError(f"{type(module).__name__} has no attention")
    queries, keys, _ = module.qkv(x).chunk(3, dim=-1)
    q, k = module.norm_q(part(queries, module.heads)), module.norm_k(part(keys, module.heads))
    if turns is not None:
        q, k = turn(q, turns), turn(k, turns)
    if module.windows is not None:
        return weigh_windows(module.windows, q, k)
    bias = bias if module.bias is None else module.bias()
    logits = score(q, k)
    return (logits if bias is None else logits + bias).softmax(dim=-1)


def weigh_windows(windows: Windows, q: Tensor, k: Tensor) -> Tensor:
    """Give the weights of windows among all tokens: attention is linear in its values, and the identity shows each."""
    n = q.shape[2]
    each = torch.eye(n, dtype=q.dtype, device=q.device).expand(*q.shape[:2], n, n)
    weights: Tensor = windows(q, k, each, 0.0)
    return weights


def part(x: Tensor, heads: int) -> Tensor:
    """(b, n, d) -> (b, h, n, e)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def score(q: Tensor, k: Tensor) -> Tensor:
    """Queries and keys (b, h, n, e) -> logits (b, h, n, n)."""
    return q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
