"""Writing YAML: what is written is read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_cli.recipe.yaml_reader import parse_yaml
from vit_cli.recipe.yaml_writer import write_yaml

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)
VALUES = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | TEXT


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        TEXT, VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(TEXT, VALUES, max_size=2), min_size=1, max_size=3
    )
)
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    assert parse_yaml(write_yaml(values)).value == values


@pytest.mark.parametrize(
    "text", ["1e-3", "no", "12:30", "true", "~", "08", "0o7", "<<", "null", "", " ", "a: b", "*x", "#x", "2026-01-02"]
)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert parse_yaml(write_yaml({"key": text})).value == {"key": text}


def test_repeated_values_are_written_out() -> None:
    pair = [1, 2]
    assert write_yaml({"a": pair, "b": pair}) == "a: [1, 2]\nb: [1, 2]\n"
