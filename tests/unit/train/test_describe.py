"""What a run says of itself."""

from __future__ import annotations

import pytest

from vit_cli.recipe.load import load_recipe
from vit_cli.train.describe import describe_reduction


@pytest.mark.parametrize(("change", "told"), [("31", True), ("32", False), ("null", False)])
def test_pictures_kept_below_the_resolution_are_told(change: str, told: bool) -> None:
    recipe = load_recipe("smoke", ["model.res=[32, 48]", f"data.cache_size={change}"]).recipe
    assert describe_reduction(recipe) == (
        ["data.cache_size is 31, below the resolution of 32: larger pictures will be blurred"] if told else []
    )
