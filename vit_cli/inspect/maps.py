"""Where the heads of one layer look in an image, and where pooling looks that has an attention of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vit_cli.errors import UsageError
from vit_cli.inspect.attention import watching
from vit_cli.inspect.board import SINGLE, Board, Panel
from vit_cli.inspect.parts import Parts
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.tiles import draw_table, limits_of, paint

MOST_HEADS, BESIDE = 16, 8
"""Of a model that is drawn alone, and of one beside another."""


def read_answer(weights: Tensor, parts: Parts) -> Tensor:
    """Give what the class token pays to each patch (..., n), or the patches on average if the head reads no class token."""
    among = weights[..., parts.prefix :]
    return among[..., 0, :] if parts.reads == "class token" else among[..., parts.prefix :, :].mean(dim=-2)


@torch.inference_mode()
def collect(sight: Sight, module: nn.Module) -> Tensor:
    """Give a module's attention to the images that are drawn (b, h, queries, n)."""
    found: list[Tensor] = []
    with watching([module], lambda _, weights: found.append(weights.cpu())):
        for images in sight.batches(sight.album.shown):
            sight.model.features(images)
    return torch.cat(found)


def choose_layer(sight: Sight) -> int:
    """Give the place of the layer to draw, from 0; UsageError for one that the model does not have."""
    layers = len(sight.parts.attention)
    if sight.layer is None:
        return layers - 1
    if not 1 <= sight.layer <= layers:
        raise UsageError(f"--layer {sight.layer}: {sight.name} has layers 1 to {layers}")
    return sight.layer - 1


def draw_maps(sight: Sight) -> Panel:
    """Draw a map for each image and head, from its least weight to its largest."""
    parts, place = sight.parts, choose_layer(sight)
    board = Board(sight.width)
    numbers: dict[str, object] = {"layer": place + 1, "of": parts.reads}
    if parts.pooling is not None:
        pooled = collect(sight, parts.pooling)[:, :, 0]
        board.stack(draw_heads(sight, pooled), "Pooling: what the head reads")
        numbers["pooling_entropy"] = entropy(pooled).tolist()
    weights = collect(sight, parts.attention[place])
    answer = read_answer(weights, parts)
    who = "the class token" if parts.reads == "class token" else "the mean over patches"
    heading = f"Layer {place + 1}: what {'the class token looks' if who == 'the class token' else 'patches look'} at"
    board.stack(draw_heads(sight, answer), heading if parts.pooling is not None else "")
    numbers |= {"entropy": entropy(answer).tolist(), "even_entropy": float(torch.tensor(sight.lattice.patches).log2())}
    shown = min(count_heads(sight), answer.shape[1])
    some = "" if shown == answer.shape[1] else f" of {answer.shape[1]}"
    summary = f"layer {place + 1} of {len(parts.attention)}, attention of {who}, {shown}{some} heads"
    return Panel(board, summary, numbers)


def draw_heads(sight: Sight, maps: Tensor) -> Board:
    """Draw maps (b, h, n) of the images, a row for each."""
    grids = maps[:, : count_heads(sight)].unflatten(-1, sight.lattice.grid).double().numpy()
    rows = [
        [picture, *(paint(one, limits_of(one)) for one in heads)]
        for picture, heads in zip(sight.pictures, grids, strict=True)
    ]
    heads = ["image", *name_heads(grids.shape[1], sight.width)]
    return draw_table(rows, heads, sight.width, sight.names)


def count_heads(sight: Sight) -> int:
    """Count the heads that there is room for."""
    return MOST_HEADS if sight.width == SINGLE else BESIDE


def name_heads(count: int, width: int) -> Sequence[str]:
    """Name heads by their number, with the word if there is room."""
    return [f"head {place}" if count * 90 < width else str(place) for place in range(1, count + 1)]


def entropy(maps: Tensor) -> Tensor:
    """Give the entropy of each head's map in bits, the mean over images: (b, h, n) -> (h,)."""
    shares = maps.double() / maps.double().sum(dim=-1, keepdim=True).clamp_min(1e-30)
    return -(shares * shares.clamp_min(1e-30).log2()).sum(dim=-1).mean(dim=0)
