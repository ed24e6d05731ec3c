"""`vit recipe`, as its users see it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vit_cli.cli.recipe import app
from vit_cli.errors import RecipeError, UsageError
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.load import load_recipe, to_yaml


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_names_every_recipe_with_its_title() -> None:
    text = run("list")
    assert all(name in text for name in shipped_recipes())
    assert "scanned handwritten digits" in text


def test_show_prints_the_file_or_all_of_it() -> None:
    assert run("show", "digits") == shipped_recipes()["digits"].read_text()
    assert run("show", "smoke", "seed=4", "--resolved") == to_yaml(load_recipe("smoke", ["seed=4"]).recipe)
    with pytest.raises(UsageError, match="resolved"):
        run("show", "digits", "seed=4")


def test_a_copy_is_the_same_recipe_and_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "my.yaml"
    run("copy", "smoke", str(target))
    assert load_recipe(target).recipe == load_recipe("smoke").recipe
    target.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        run("copy", "digits", str(target))
    assert target.read_text() == "mine"
    run("copy", "digits", str(tmp_path))
    assert (tmp_path / "digits.yaml").is_file()
    with pytest.raises(UsageError, match="can't be written"):
        run("copy", "digits", str(tmp_path / "no" / "my.yaml"))


def test_check_says_what_a_recipe_is_or_what_is_wrong() -> None:
    assert "20 steps, batch 16, cross_entropy" in run("check", "smoke")
    assert "comes with the weights" in run("check", "finetune", "seed=3")
    with pytest.raises(RecipeError, match="2 problems"):
        run("check", "smoke", "seed=x", "optim.lr=x")


def test_schema_is_json() -> None:
    assert json.loads(run("schema"))["else"] == {"$ref": "#/$defs/Recipe"}


def test_listing_and_showing_recipes_need_no_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from vit_cli.cli.recipe import app; "
        "[CliRunner().invoke(app, a) for a in (['list'], ['show', 'digits'], ['--help'])]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
