"""Fit the weights of one model to another resolution and other classes, and say what was changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.classifier import Classifier
from vit_cli.models.positions import Stretch, resize_positions
from vit_cli.section import Grid


class Adapted(NamedTuple):
    """Weights that fit, and the changes in words."""

    weights: dict[str, Tensor]
    changes: list[str]


def stretch_tables(
    weights: Mapping[str, Tensor], source: Mapping[str, Grid], target: Mapping[str, Grid], stretch: Stretch
) -> Adapted:
    """Stretch every table of positions that both models have; other weights, prefix tokens among them, stay as they are.

    Raises CheckpointError for a table that does not hold the grid that its model claims.
    """
    result, changes = dict(weights), []
    for name, grid in target.items():
        if name in weights and name in source and source[name] != grid:
            try:
                result[name] = resize_positions(weights[name], source[name], grid, stretch)
            except ValueError as error:
                raise CheckpointError(f"the weights do not fit their own model: {name}: {error}") from error
            changes.append(f"positions  {source[name]} -> {grid} ({stretch})")
    return Adapted(result, list(dict.fromkeys(changes)))


def renew_tables(weights: Mapping[str, Tensor], tables: Mapping[str, Grid], model: Classifier) -> Adapted:
    """Take every table of positions from `model`'s own first weights instead: what fine-tuning without stretching has."""
    own = model.state_dict()
    result = dict(weights) | {name: own[name] for name in tables}
    changes = [f"positions  drawn anew ({grid})" for grid in tables.values()]
    return Adapted(result, list(dict.fromkeys(changes)))


def replace_head(weights: Mapping[str, Tensor], model: Classifier) -> dict[str, Tensor]:
    """Take the head from `model`'s own first weights instead (zero: ViT, section 3.2)."""
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(model.head_names)}
    fresh = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(model.head_names)}
    return kept | fresh


def load_weights(model: Classifier, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `model`, which must fit to the last tensor; CheckpointError names what does not."""
    check_fit(model, weights)
    model.load_state_dict(dict(weights))


def check_fit(model: Classifier, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError, naming tensors, unless `weights` fit `model`, which may be on the meta device, to the last one."""
    own = model.state_dict()
    problems = [
        *(f"{name}: missing" for name in own.keys() - weights.keys()),
        *(f"{name}: unexpected" for name in weights.keys() - own.keys()),
        *(
            f"{name}: {shape(weights[name])} in the file, {shape(own[name])} in the model"
            for name in own.keys() & weights.keys()
            if own[name].shape != weights[name].shape
        ),
        *(
            f"{name}: {weights[name].dtype} in the file, {own[name].dtype} in the model"
            for name in own.keys() & weights.keys()
            if own[name].is_floating_point() != weights[name].is_floating_point()
        ),
    ]
    if problems:
        listed = "\n  ".join(sorted(problems)[:8])
        more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise CheckpointError(f"the weights do not fit the model:\n  {listed}{more}", "Are they of another model?")


def shape(tensor: Tensor) -> str:
    """(2, 3) as 2x3; a scalar as 'scalar'."""
    return "x".join(map(str, tensor.shape)) or "scalar"
