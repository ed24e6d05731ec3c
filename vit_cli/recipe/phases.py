"""What the phases of a run ask of the model."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from vit_cli.models import Model
from vit_cli.models.cct import Cct
from vit_cli.models.tnt import Tnt
from vit_cli.models.vit_fields import VitFields
from vit_cli.recipe.plain import at_res
from vit_cli.recipe.problems import KeyPath, Problem
from vit_cli.recipe.schema import Phase
from vit_cli.section import Res, as_grid


def check_phase(phase: Phase, model: Model, path: KeyPath) -> Iterator[Problem]:
    """A phase shows the model what it can see."""
    if phase.res is not None and (problem := find_problem(phase.res, model)):
        yield Problem((*path, "res"), problem)
    if phase.drop_tokens and (problem := find_bond(model)):
        yield Problem((*path, "drop_tokens"), f"needs a model that can do without some patches, and {problem}")


def find_problem(res: Res, model: Model) -> str | None:
    """Say why a model can't be trained at a resolution, and which it can."""
    own, asked = as_grid(model.res), as_grid(res)
    if asked == own:
        return None
    if isinstance(model, Tnt | Cct):
        return f"a {model.name} takes images of model.res only; choose vit, deit, hybrid, resnet or convnext"
    if isinstance(model, VitFields) and model.bound_by:
        return f"{model.bound_by} is bound to the grid of model.res, {own}; another res is for other positions and full attention"
    if asked.rows > own.rows or asked.columns > own.columns:
        return f"{asked} is larger than model.res, {own}: a phase costs less than what comes after it"
    try:
        at_res(model, res)
    except ValidationError as error:
        return str(error.errors()[0]["ctx"]["error"])
    return None


def find_bond(model: Model) -> str | None:
    """Say what keeps a model from doing without some of its patches."""
    if not isinstance(model, VitFields):
        return f"a {model.name} is none; vit, deit and hybrid are"
    if model.bound_by:
        return f"{model.bound_by} needs all; it is for other positions and full attention"
    if model.positions_at in ("layers", "shared"):
        return f"positions_at: {model.positions_at} places all of them before every block; positions_at: stem does not"
    return None
