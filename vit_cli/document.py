"""JSON as other programs read it: it knows neither NaN nor infinity, which become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(content: Any, indent: int | None = None, escapes: bool = False) -> str:
    """Write plain values as a JSON document; with `escapes` in ASCII alone."""
    return json.dumps(finite(content), indent=indent, ensure_ascii=escapes, allow_nan=False)


def read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a row of scores with NaN again where JSON has null."""
    return {name: math.nan if value is None else value for name, value in row.items()}


def finite(content: Any) -> Any:
    """Copy plain values with None in place of every number that JSON doesn't know."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
