"""Reading YAML: what values mean, where they stand, and what is refused."""

from __future__ import annotations

import math
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_cli.errors import RecipeError
from vit_cli.recipe.yaml_reader import MAX_ALIASES, MAX_DEPTH, YamlError, parse_yaml, read_tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-0.5", -0.5), ("08", 8), ("0x10", 16), ("0o17", 15),
        ("no", "no"), ("off", "off"), ("yes", "yes"), ("12:30", "12:30"), ("2026-01-02", "2026-01-02"), ("1_000", "1_000"),
        ("true", True), ("FALSE", False), ("~", None), ("null", None), ("none", "none"), ("'5'", "5"), ('"true"', "true"),
        ("=", "="), (".inf", math.inf), ("-.inf", -math.inf), ("5 epochs", "5 epochs"), ("1e400", math.inf),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    parsed = parse_yaml(f"key: {text}").value["key"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_every_key_path_knows_its_line() -> None:
    text = "a: 1\nb:\n  c: 2\n  d:\n    - x: 3\n\n    - 4\ne: {f: 5,\n  g: 6}\n"
    assert parse_yaml(text).lines == {
        ("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "d"): 4, ("b", "d", 0): 5, ("b", "d", 0, "x"): 5, ("b", "d", 1): 7,
        ("e",): 8, ("e", "f"): 8, ("e", "g"): 9,
    }  # fmt: skip


def test_keys_are_text_even_if_they_look_like_numbers() -> None:
    assert parse_yaml("{0: a, true: b, 1.5: c}").value == {"0": "a", "true": "b", "1.5": "c"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, "the same key twice"),
        ("a: {b: 1, b: 2}", 1, "the same key twice"),
        ("a: 1\nb: !!str 2", 2, "tag"),
        ("a: !x 2", 1, "tag"),
        ("a: ! 2", 1, "tag"),
        ("x: 1\na: !!python/object/apply:os.system ['true']", 2, "tag"),
        ("a: &x {b: 1}\nc:\n  <<: *x", 3, "merge keys"),
        ("a: *x", 1, "undefined alias"),
        ("a:\n\tb: 1", 2, "tab"),
        ("a: b: c", 1, "':'"),
        ("a: 1\nb: [1, 2", 2, "not YAML"),
        ("a: @x", 1, "not YAML"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("? [1]\n: 2", 1, "a key must be a word"),
        ('a: 1\nb: "\\ud800"', 2, "not Unicode"),
        ("a: 1\nb: \x00", 2, "does not allow"),
        (f"a: {'9' * 5000}", 1, "5000 digits"),
        (f"a: 0x{'f' * 5000}", 1, "5002 digits"),
        ("a: &x [*x]", 1, "deep"),
        ("a: " + "[" * 10_000, 1, "deep"),
        ("a: " + "{a: " * 10_000, 1, "deep"),
        ("- " * 10_000, 1, "deep"),
        ("[" * 900_000, 1, "deep"),
    ],
)  # fmt: skip
def test_what_a_recipe_may_not_hold_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    started = time.perf_counter()
    with pytest.raises(YamlError, match=words) as caught:
        parse_yaml(text)
    assert caught.value.line == line
    assert time.perf_counter() - started < 5  # a thousand times more without the limits


def test_depth_ends_at_twenty() -> None:
    parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(YamlError, match="deep"):
        parse_yaml("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_aliases_end_at_sixteen_and_count_in_depth_and_size() -> None:
    repeats = ["*a"] * MAX_ALIASES
    assert parse_yaml(f"a: &a x\nb: [{', '.join(repeats)}]").value["b"] == ["x"] * MAX_ALIASES
    with pytest.raises(YamlError, match="aliases"):
        parse_yaml(f"a: &a x\nb: [{', '.join([*repeats, '*a'])}]")
    with pytest.raises(YamlError, match="with what aliases repeat"):
        parse_yaml(f"a: &a [{'x, ' * 10_000}]\nb: [*a, *a, *a]")
    half = "[" * 15
    with pytest.raises(YamlError, match="deep"):
        parse_yaml(f"a: &a {half}{']' * 15}\nb: {half}*a{']' * 15}")


def test_an_alias_is_a_copy_at_the_line_of_its_key() -> None:
    parsed = parse_yaml("a: &a {x: 1}\nb: *a")
    assert parsed.value == {"a": {"x": 1}, "b": {"x": 1}}
    assert parsed.value["a"] is not parsed.value["b"]
    assert parsed.lines["b",] == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"), (b"# nothing\n", "is empty"), (b"- 1\n", "a list"), (b"42\n", "one value"),
        (b"a: 1\nb: \xff\n", "my.yaml:2  not UTF-8"), (b"a: 1\na: 2\n", "my.yaml:2  a  the same key twice"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_tree(path)
    assert words in caught.value.problem


def test_byte_order_mark_and_carriage_returns_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: x\r\n")
    tree = read_tree(path)
    assert tree.values == {"a": 1, "b": {"c": "x"}}
    assert tree.place(("b", "c")) == 3


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match="larger than 1 MB"):
            read_tree(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(RecipeError, match="larger than 1 MB"):
        read_tree(Path("/dev/zero"))


def test_a_missing_file_is_an_error_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="can't be read"):
        read_tree(tmp_path / "no.yaml")


def test_the_place_of_an_unwritten_key_is_that_of_its_section(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("a: 1\nb:\n  c: 2\n")
    tree = read_tree(path)
    assert tree.place(("b", "zz", 3)) == 2
    assert tree.place(("zz",)) is None


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("ab01.-:,[]{}&*!|>'\"%#?~<\t\n ", max_size=60).map(str.encode)))
def test_whatever_is_in_the_file_only_recipe_errors_come_out(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "my.yaml"
    path.write_bytes(content)
    try:
        tree = read_tree(path)
    except RecipeError:
        return
    assert isinstance(tree.values, dict)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.text("abc xyz-", min_size=1, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), PLAIN, min_size=1, max_size=3))
def test_what_pyyaml_writes_is_read_as_pyyaml_means_it(values: dict[str, Any]) -> None:
    assert parse_yaml(yaml.safe_dump(values)).value == values
