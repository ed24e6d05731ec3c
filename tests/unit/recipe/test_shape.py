"""The shape of the schema, and its words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveFloat

from vit_cli.recipe.shape import describe, kind_at, make_kind, value_at, walk
from vit_cli.section import Duration, Positive, Res, Section, Share


class Leaf(Section):
    name: Literal["leaf"] = "leaf"
    size: Positive = 1


class Twig(Section):
    name: Literal["twig"] = "twig"
    leaves: tuple[Leaf, ...] = ()


class Tree(Section):
    parts: list[Annotated[Leaf | Twig, Field(discriminator="name")]] = []
    only: Leaf | None = None


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "true or false"),
        (str, "text"),
        (Path, "a path"),
        (Positive, "a whole number above 0"),
        (PositiveFloat, "a number above 0"),
        (Share, "a number from 0 to 1"),
        (Annotated[float, Field(gt=0, lt=1)], "a number above 0 and below 1"),
        (int | None, "a whole number, or null"),
        (Literal["a", "b"], "'a' or 'b'"),
        (Res, "a whole number above 0, or a list of 2, each a whole number above 0"),
        (Literal["auto"] | int, "'auto', or a whole number"),
        (dict[str, float], "keys with a number each"),
        (tuple[Leaf, ...], "a list"),
        (Leaf, "a section of keys"),
        (Leaf | Twig, "a section with a name (leaf, twig)"),
        (Duration, "a duration such as '10 epochs', '500 steps' or '20%'"),
    ],
)
def test_what_is_expected_is_said_in_plain_words(annotation: Any, words: str) -> None:
    assert describe(make_kind(annotation)) == words


def test_every_section_is_walked_through_unions_lists_and_null() -> None:
    found = [(path, section.__name__) for path, section in walk(Tree)]
    assert found == [
        ((), "Tree"), (("parts",), "Leaf"), (("parts",), "Twig"), (("parts", "leaves"), "Leaf"), (("only",), "Leaf"),
    ]  # fmt: skip


def test_the_kind_of_a_place_follows_the_names_in_the_recipe() -> None:
    values = {"parts": [{"name": "twig", "leaves": [{}]}]}
    assert kind_at(Tree, values, ("parts", 0, "leaves", 0, "size")) == make_kind(Positive)
    assert kind_at(Tree, values, ("parts", 0, "size")) is None
    assert kind_at(Tree, {}, ("only", "size")) == make_kind(Positive)


def test_a_value_that_is_not_there_is_none() -> None:
    assert value_at({"a": [{"b": 1}]}, ("a", 0, "b")) == 1
    assert value_at({"a": [{"b": 1}]}, ("a", 1, "b")) is None
    assert value_at({"a": 3}, ("a", "b")) is None
