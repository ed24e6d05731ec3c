"""Finding recipes by name or path."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_cli.errors import RecipeError
from vit_cli.recipe.find import copy_text, find_recipe, read_title, recipes_folder, shipped_recipes


def test_a_name_is_a_shipped_recipe_and_anything_else_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").touch()
    Path("digits").mkdir()
    assert find_recipe("digits") == recipes_folder() / "digits.yaml"
    assert find_recipe("mine.yaml") == Path("mine.yaml")
    assert find_recipe(tmp_path / "mine.yaml") == tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit", "Did you mean digits?"),
        ("recipes/digitz.yaml", "Did you mean digits?"),
        ("xyz", "Shipped recipes: cifar10_cct"),
    ],
)
def test_a_name_that_is_not_there_brings_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(RecipeError, match="there is no") as caught:
        find_recipe(name)
    assert hint in caught.value.hint


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a folder"):
        find_recipe(tmp_path)


def test_the_title_is_the_first_line_of_the_header() -> None:
    assert read_title("# yaml-language-server: $schema=x.json\n# A title.\n# Run: x\n") == "A title."
    assert read_title("") == ""


def test_a_copy_finds_the_schema_where_it_is_installed() -> None:
    line = copy_text(shipped_recipes()["digits"]).splitlines()[0]
    assert Path(line.partition("$schema=")[2]).is_file()
