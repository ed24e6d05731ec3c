"""What positions have learned: which of them are alike (ViT, figure 7, centre, and figure 10), or how attention is biased."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vit_cli.inspect.board import GAP, Board, Panel
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.similarity import compare_all
from vit_cli.inspect.tiles import (
    SIGNED,
    Numbers,
    Range,
    choose_evenly,
    draw_bar,
    draw_table,
    limits_of,
    paint,
    resize,
    tile,
)
from vit_cli.models.classifier import Classifier
from vit_cli.models.positions import Positions
from vit_cli.models.relative import RelativeBias, offsets
from vit_cli.models.rope import Rope, turn
from vit_cli.section import Grid

TILES, LARGEST, CELL = 16, 1000, 36
"""The most tiles on a side, and in pixels the side of all of them and of a cell."""
MOST_LAYERS, MOST_HEADS = 12, 16
WORDS = "of the words in a patch"


class Table(NamedTuple):
    """A vector for each place of a grid, row by row (n, d)."""

    name: str
    vectors: Tensor
    grid: Grid


def find_tables(model: Classifier) -> list[Table]:
    """Give the tables that a model adds to patches or words; those of the first and of the last layer if each has its own.

    Rope has none: what it does to a query and a key that are alike is what turning a vector of ones gives.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, Positions)}
    tables = [Table(entitle(name), module.vectors().detach()[0], module.grid) for name, module in found.items()]
    for module in model.modules():
        if isinstance(module, Rope):
            ones = torch.ones(1, 1, module.prefix + module.grid.rows * module.grid.columns, module.head_width)
            turned = turn(ones, module.turns.cpu())[0, 0, module.prefix :]
            tables.append(Table("after rotation, of queries and keys that are alike", turned, module.grid))
    tables.sort(key=lambda table: table.name == WORDS)  # after those of patches
    return tables if len(tables) <= 2 else [tables[0], tables[-1]]


def entitle(name: str) -> str:
    """Say whose positions a module of this name holds."""
    kind, _, place = name.partition(".tables.")
    if place:
        return f"before layer {int(place) + 1}"
    return {"outer_positions": "of patches", "inner_positions": WORDS}.get(kind, "of patches")


def find_biases(model: Classifier) -> dict[str, Tensor]:
    """Give the bias of attention for each head and each offset of a key from a query, in rows and columns (h, 2 r - 1, 2 c - 1)."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, RelativeBias):
            place = f"layer {int(name.split('.')[1]) + 1}" if name.startswith("blocks.") else "all layers"
            table = module.table.detach().view(*offsets(module.grid), -1)
            found[place] = table.flip(0, 1).permute(2, 0, 1)  # the table counts from the key to the query
    return found


def lack_positions(model: Classifier) -> str:
    """Say why there is nothing to draw; nothing if there is."""
    return "" if find_tables(model) or find_biases(model) else "it has no positions"


def draw_positions(sight: Sight) -> Panel:
    """Draw a tile for each place of the grid: how alike its position is to all others; or the biases of relative positions."""
    biases = find_biases(sight.model)
    return draw_biases(biases, sight.width) if biases else draw_tables(find_tables(sight.model), sight.width)


def draw_tables(tables: list[Table], width: int) -> Panel:
    """Draw the cosine of each position with all others, as a grid of tiles for the grid of places."""
    board, numbers, said = Board(width), [], []
    for table in tables:
        alike = compare_all(table.vectors).cpu().numpy()
        limits = limits_of(alike)
        part = Board(width)
        sheet = lay_tiles(alike, table.grid, min(width, LARGEST), limits)
        part.lay(0, 0, sheet)
        part.put(0, sheet.shape[0] + GAP, draw_bar(limits, "cosine", width))
        board.stack(part, f"Positions {table.name}" if len(tables) > 1 else "")
        near = float(np.mean(neighbours(alike, table.grid)))
        apart = alike[~np.eye(len(alike), dtype=bool)]
        mean = float(apart.mean()) if len(apart) else 1.0
        numbers.append({"of": table.name, "grid": list(table.grid), "neighbours": near, "all": mean})
        said.append(f"{table.name}: neighbours {near:.2f}, all pairs {mean:.2f}")
    return Panel(board, "mean cosine " + "; ".join(said), {"tables": numbers})


def lay_tiles(alike: Numbers, grid: Grid, side: int, limits: Range) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Lay (n, n) out as tiles: the tile at a row and a column compares that place with the whole grid; of many, evenly chosen."""
    rows, columns = choose_evenly(grid.rows, TILES), choose_evenly(grid.columns, TILES)
    gap = 4 if len(columns) > 8 else 8
    cell = max(1, min(CELL, (side // max(len(rows), len(columns)) - gap) // max(grid)))
    size = Grid(grid.rows * cell, grid.columns * cell)
    tiles = [alike[row * grid.columns + column].reshape(grid) for row in rows for column in columns]
    return tile([resize(paint(one, limits), size) for one in tiles], len(columns), gap)


def neighbours(alike: Numbers, grid: Grid) -> Numbers:
    """Give the similarities of all places that lie side by side or one above the other; of a single place, its own."""
    places = np.arange(grid.rows * grid.columns).reshape(grid)
    pairs = [(places[:, :-1], places[:, 1:]), (places[:-1], places[1:])]
    found = np.concatenate([alike[one.ravel(), other.ravel()] for one, other in pairs])
    return found if len(found) else np.diag(alike)


def draw_biases(biases: dict[str, Tensor], width: int) -> Panel:
    """Draw the bias of each head by where a key lies from its query, which is in the middle."""
    names = list(biases)
    chosen = [names[place] for place in choose_evenly(len(names), MOST_LAYERS)]
    tables = {name: biases[name][:MOST_HEADS].cpu().double().numpy() for name in chosen}
    largest = max(float(np.abs(table).max()) for table in tables.values()) or 1.0
    limits = Range(-largest, largest)
    rows = [[paint(head, limits, SIGNED) for head in table] for table in tables.values()]
    heads = [f"head {place + 1}" for place in range(len(rows[0]))]
    board = draw_table(rows, heads, width, chosen)
    board.stack(draw_bar(limits, "added to the logits of attention; the query is in the middle", width, SIGNED))
    numbers = {name: {"largest": [float(head.abs().max()) for head in table]} for name, table in biases.items()}
    return Panel(board, f"relative bias of {len(rows[0])} heads, up to {largest:.2f} either way", {"bias": numbers})
