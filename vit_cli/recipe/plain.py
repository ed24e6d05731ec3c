"""Sections from the plain values that a checkpoint carries."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vit_cli.errors import CheckpointError
from vit_cli.models import Model
from vit_cli.section import Res


def read_section(kind: Any, plain: Any) -> Any:
    """Build a section of type `kind` (a Section, or a union of them) from plain values; CheckpointError if they do not fit."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"what the checkpoint says about itself does not fit this vit: {where}: {first['msg']}",
            "It was written by another version.",
        ) from error


def at_res(section: Model, res: Res) -> Model:
    """Give a model's section for another resolution. Raises pydantic's ValidationError if its patches do not divide it."""
    return type(section).model_validate(section.model_dump() | {"res": res})
