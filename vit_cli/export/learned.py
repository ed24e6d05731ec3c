"""Positions as other libraries have them: one learned table for patches, rows of it for the tokens before them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vit_cli.models.vit_fields import VitFields

MADE_OF = ("positions.rows", "positions.columns")


def as_learned(section: VitFields, weights: Mapping[str, Tensor]) -> tuple[VitFields, dict[str, Tensor]]:
    """Give a model with a learned table in place of fixed positions, or of tables of rows and of columns; the same function.

    A model without positions stays as it is.
    """
    if section.positions in ("learned", "none"):
        return section, dict(weights)
    positions = section.make_table()
    start = "positions."
    positions.load_state_dict({n.removeprefix(start): t for n, t in weights.items() if n.startswith(start)})
    kept = {name: tensor for name, tensor in weights.items() if name not in MADE_OF}
    learned = section.model_copy(update={"positions": "learned", "cls_position": positions.prefix is not None})
    return learned, kept | {"positions.table": positions.vectors().detach()}


def with_all_rows(section: VitFields, weights: Mapping[str, Tensor]) -> tuple[VitFields, dict[str, Tensor]]:
    """Give a model in which patches and the tokens before them have positions, zeros where they had none; the same function."""
    patches, width = section.grid.rows * section.grid.columns, section.dimensions.width
    absent = {
        "positions.prefix": torch.zeros(1, section.has_cls + section.extra_tokens, width),
        "positions.table": torch.zeros(1, patches, width),
    }
    return section.model_copy(update={"positions": "learned", "cls_position": True}), absent | dict(weights)
