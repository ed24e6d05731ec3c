"""The base of all sections, durations, grids and paths."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vit_cli.section import DataPath, Duration, Grid, Res, Section, Share, as_grid


class Sample(Section):
    count: int = 1
    share: Share = 0.5
    flag: bool = False
    res: Res = 224
    last: Duration | None = None


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("10 epochs", 125),
        ("1 epoch", 13),
        ("0.5 epochs", 7),
        ("500 steps", 500),
        ("1 step", 1),
        ("20%", 200),
        ("100 %", 1000),
        ("0.01%", 1),
        ("0 steps", 0),
        ("0%", 0),
        ("  3steps ", 3),
        ("0.000000001 epochs", 1),
    ],
)
def test_a_duration_is_counted_in_steps_and_rounded_up(text: str, steps: int) -> None:
    assert Duration(text).steps(steps_per_epoch=12.5, total_steps=1000) == steps


def test_rounding_up_does_not_see_the_error_of_floating_point() -> None:
    assert 0.07 * 100 > 7
    assert Duration("0.07 epochs").steps(steps_per_epoch=100.0, total_steps=1) == 7
    assert Duration("7%").steps(steps_per_epoch=1.0, total_steps=100) == 7
    assert Duration("90 epochs").steps(steps_per_epoch=1_281_167 / 1024, total_steps=1) == -(-90 * 1_281_167 // 1024)


@given(st.decimals(min_value=0, max_value=100, places=4), st.sampled_from(["epochs", "steps", "%"]))
def test_a_duration_written_out_is_read_back_as_itself(amount: object, unit: str) -> None:
    duration = Duration(f"{amount} {unit}")
    again = Duration(str(duration))
    assert again == duration
    assert hash(again) == hash(duration)
    assert again.steps(3.0, 70) == duration.steps(3.0, 70)


def test_durations_are_equal_when_they_mean_the_same() -> None:
    assert Duration("1.0 epochs") == Duration("1 epoch")
    assert Duration("20 %") == Duration("20%")
    assert Duration("1 epoch") != Duration("1 step")
    assert Duration("1 step") != "1 step"
    assert [str(Duration(text)) for text in ("1 epochs", "2.50 epoch", "7 step", "1 %")] == [
        "1 epoch",
        "2.5 epochs",
        "7 steps",
        "1%",
    ]
    assert repr(Duration("5 steps")) == "Duration('5 steps')"


NO_DURATIONS = [
    "10",
    "ten epochs",
    "-1 epochs",
    "1e3 steps",
    "5 minutes",
    "",
    "%",
    "1 epoch 2 steps",
    "1_0 steps",
    "nan%",
]


@pytest.mark.parametrize("text", [*NO_DURATIONS, "9" * 13 + " steps"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example '10 epochs'"):
        Duration(text)


def test_more_than_the_whole_run_is_refused() -> None:
    with pytest.raises(ValueError, match="more than the whole run"):
        Duration("101%")


@pytest.mark.parametrize("value", [10, 1.5, True, ["10 epochs"], {"epochs": 10}])
def test_a_duration_in_a_recipe_needs_its_unit(value: object) -> None:
    with pytest.raises(ValidationError, match="has no unit; write for example"):
        Sample.model_validate({"last": value})


def test_a_section_travels_through_json() -> None:
    sample = Sample(count=3, res=(224, 160), last=Duration("5 epochs"))
    assert Sample.model_validate_json(sample.model_dump_json()) == sample
    assert Sample(last=Duration("5 epochs")).model_dump(mode="json")["last"] == "5 epochs"


def test_editors_learn_what_a_duration_looks_like() -> None:
    duration, nothing = Sample.model_json_schema()["properties"]["last"]["anyOf"]
    assert (duration["type"], nothing["type"]) == (["string", "integer"], "null")
    assert "10 epochs" in duration["examples"]


def test_only_zero_needs_no_unit() -> None:
    assert Sample.model_validate({"last": 0}).last == Duration("0 steps")
    with pytest.raises(ValidationError, match="has no unit"):
        Sample.model_validate({"last": False})


@pytest.mark.parametrize(
    "text",
    [
        '{"count": "3"}',
        '{"count": 3.0}',
        '{"count": true}',
        '{"flag": 1}',
        '{"flag": "yes"}',
        '{"share": 1.01}',
        '{"share": -0.1}',
        '{"share": NaN}',
        '{"res": 0}',
        '{"res": [224]}',
        '{"res": [224, -1]}',
        '{"cuont": 3}',
    ],
)
def test_nothing_is_converted_in_silence(text: str) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate_json(text)


def test_a_whole_number_is_a_share() -> None:
    assert Sample.model_validate_json('{"share": 1}').share == 1.0


def test_a_section_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sample().count = 2


def test_one_number_is_a_square_grid() -> None:
    assert as_grid(224) == Grid(224, 224)
    assert as_grid((224, 160)) == Grid(rows=224, columns=160)
    assert str(as_grid((224, 160))) == "224x160"


class Place(Section):
    root: DataPath


def read(root: str, base: Path | None) -> Path:
    return Place.model_validate_json(f'{{"root": "{root}"}}', context={"base": base}).root


def test_a_path_is_looked_for_beside_the_recipe_then_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside = tmp_path / "here", tmp_path / "recipes"
    for folder in (here / "photos", here / "both", beside / "cats", beside / "both"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert read("cats", beside) == beside / "cats"
    assert read("both", beside) == beside / "both"
    assert read("photos", beside) == here / "photos"
    assert read("nowhere", beside) == here / "nowhere"
    assert read("photos", None) == here / "photos"
    assert read(str(tmp_path / "x"), beside) == tmp_path / "x"
    monkeypatch.chdir(beside.parent)
    assert read("cats", Path("recipes")) == beside / "cats", "absolute, even if the recipe was named by a relative path"


def test_a_resolved_path_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Place(root=Path("photos"))
    assert place.root == tmp_path / "photos"
    monkeypatch.chdir("/")
    assert Place.model_validate_json(place.model_dump_json()) == place


def test_a_home_is_found_and_that_of_a_stranger_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/photos", None) == tmp_path / "photos"
    with pytest.raises(ValidationError, match="a user that this machine does not know"):
        read("~nobody-of-this-name/photos", None)


@pytest.mark.parametrize("value", ["3", "null", "true", "[]"])
def test_a_path_is_a_text(value: str) -> None:
    with pytest.raises(ValidationError):
        Place.model_validate_json(f'{{"root": {value}}}')
