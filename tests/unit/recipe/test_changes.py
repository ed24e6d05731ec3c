"""Changes from the command line."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from vit_cli.errors import UsageError
from vit_cli.recipe.changes import COMMAND_LINE, apply_changes, read_change
from vit_cli.recipe.yaml_reader import Tree, parse_yaml
from vit_cli.section import Section


class Round(Section):
    name: Literal["round"] = "round"
    size: float = 1.0
    radius: float = 1.0


class Square(Section):
    name: Literal["square"] = "square"
    size: float = 1.0
    side: float = 1.0


Shape = Annotated[Round | Square, Field(discriminator="name")]


class Span(Section):
    either: ClassVar = (("near", "far"),)
    near: int | None = None
    far: int | None = None


class Toy(Section):
    seed: int = 0
    shape: Shape
    shapes: tuple[Shape, ...] = ()
    extra: Shape | None = None
    span: Span = Span()


TEXT = """
seed: 1
shape: {name: round, size: 2.0, radius: 3.0, typo: 1}
shapes:
  - {name: square, side: 1.0}
  - {name: round}
extra: null
"""


def change(*texts: str, text: str = TEXT) -> dict[str, Any]:
    value, lines = parse_yaml(text)
    return apply_changes(Tree("my.yaml", value, lines), texts, Toy).values


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("seed=5", ["seed"], 5),
        ("shape.size=1e-3", ["shape", "size"], 0.001),
        ("shape.size=no", ["shape", "size"], "no"),
        ("seed='5'", ["seed"], "5"),
        ("seed=null", ["seed"], None),
        ("seed=a=b", ["seed"], "a=b"),
        ("shapes.1.size=[0.2,1]", ["shapes", 1, "size"], [0.2, 1]),
        ("shapes.2={name: round}", ["shapes", 2], {"name": "round"}),
        ("shape={name: square, side: 2}", ["shape"], {"name": "square", "side": 2}),
        ("extra.size=2", ["extra"], {"size": 2}),
        ("new.deep.key=5 epochs", ["new", "deep", "key"], "5 epochs"),
    ],
)
def test_a_change_puts_a_yaml_value_at_its_path(text: str, path: list[Any], value: Any) -> None:
    here: Any = change(text)
    for key in path:
        here = here[key]
    assert here == value


def test_changes_are_made_in_order_on_a_copy() -> None:
    value, lines = parse_yaml(TEXT)
    tree = Tree("my.yaml", value, lines)
    changed = apply_changes(tree, ["shape.size=5", "shape.size=6", "shapes.0.side=7"], Toy)
    assert changed.values["shape"]["size"] == 6
    assert changed.values["shapes"][0]["side"] == 7
    assert tree.values == parse_yaml(TEXT).value
    assert tree.places == lines


def test_changed_keys_are_placed_on_the_command_line() -> None:
    value, lines = parse_yaml(TEXT)
    tree = apply_changes(Tree("my.yaml", value, lines), ["shape={name: round, size: x}"], Toy)
    assert tree.place(("shape", "size")) == COMMAND_LINE
    assert tree.place(("seed",)) == 2


def test_another_name_keeps_the_keys_that_fit_and_those_nobody_knows() -> None:
    assert change("shape.name=square")["shape"] == {"name": "square", "size": 2.0, "typo": 1}
    assert change("shapes.0.name=round")["shapes"][0] == {"name": "round"}


@pytest.mark.parametrize("texts", [["shape.name=square", "shape.radius=9"], ["shape.radius=9", "shape.name=square"]])
def test_another_name_keeps_what_the_command_line_wrote(texts: list[str]) -> None:
    assert change(*texts)["shape"]["radius"] == 9


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (["span.far=2"], {"far": 2}),
        (["span.near=3"], {"near": 3}),
        (["span.far=null"], {"near": 1, "far": None}),
        (["span.near=null", "span.far=2"], {"near": None, "far": 2}),
        (["span.far=2", "span.near=3"], {"far": 2, "near": 3}),
        (["span.near=3", "span.far=2"], {"far": 2, "near": 3}),
    ],
)
def test_of_keys_that_exclude_each_other_the_command_line_goes_before_the_file(
    texts: list[str], left: dict[str, int | None]
) -> None:
    assert change(*texts, text=TEXT + "span: {near: 1}\n")["span"] == left


@pytest.mark.parametrize("name", ["oval", "[1]", "3"])
def test_a_name_that_does_not_exist_drops_nothing(name: str) -> None:
    assert change(f"shape.name={name}")["shape"]["radius"] == 3.0


@pytest.mark.parametrize(
    "text", ["seed", "=5", "a..b=5", ".a=1", "seed=", "seed= ", "seed=[1", "seed=@x", "seed=!x 1", "seed={a: 1, a: 2}"]
)
def test_a_malformed_change_is_an_error_of_usage(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_change(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed.x=1", "seed is 1, not a section"),
        ("shapes.5={name: round}", "0 to 1, or 2 to add one"),
        ("shapes.-1=1", "numbered 0 to 1"),
        ("shapes.x.size=1", "shapes is a list"),
    ],
)
def test_a_change_without_a_place_is_an_error_of_usage(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        change(text)
