"""A study's file, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_cli.errors import RecipeError
from vit_cli.study.schema import load_study, shipped_studies

TEXT = """\
title: Depth
claim: deeper is better
source: nowhere
published: nothing
base: digits_small
reference: flat
arms:
  - {name: flat}
  - {name: deep, changes: [model.depth=3]}
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "depth.yaml"
    path.write_text(text)
    return str(path)


def test_a_study_is_read_with_changes(tmp_path: Path) -> None:
    loaded = load_study(write(tmp_path, TEXT), ["seeds=[3, 4]", "arms.1.title=deeper"])
    assert (loaded.name, loaded.study.seeds, loaded.study.arms[1].label) == ("depth", (3, 4), "deeper")
    assert [loaded.study.reference_of(arm) for arm in loaded.study.arms] == [None, "flat"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source:", "sauce:", "depth.yaml:3  sauce   unknown key; did you mean 'source'?"),
        ("reference: flat", "reference: flt", "depth.yaml:6  reference  'flt' is no arm; the arms are flat, deep"),
        ("{name: deep,", "{name: flat,", "depth.yaml:9  arms.1.name  a second arm is called 'flat'"),
        ("{name: deep,", "{name: deep, start: deep,", "depth.yaml:9  arms.1.start  'deep' is no arm before 'deep'"),
        ("{name: deep,", "{name: deep, against: x,", "arms.1.against  'x' is no arm"),
        ("{name: deep,", "{name: deep, at: 3.0,", "arms.1.at  is a place on an axis, and axis names none"),
        ("base:", "seeds: [1, 1]\nbase:", "depth.yaml:5  seeds  holds a number twice"),
        ("{name: deep,", "{name: 'a, b',", "arms.1.name"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_study(write(tmp_path, TEXT.replace(old, new)))
    assert message in str(caught.value)


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="Did you mean positions"):
        load_study("position")


def test_all_studies_of_the_list_are_shipped() -> None:
    assert set(shipped_studies()) == {
        "compute", "distillation", "pooling", "positions", "positions_cifar10", "regularizers", "resolution", "small_data", "tnt",
    }  # fmt: skip
