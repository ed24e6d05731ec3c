"""Looking into models of every kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.inspect.tiny import CONVOLUTIONS, MODELS, get, make_sight
from vit_cli.errors import UsageError
from vit_cli.inspect.board import HALF
from vit_cli.inspect.look import call, entitle, find_place, look, open_albums, read_only, write
from vit_cli.inspect.pictures import PICTURES

pytestmark = pytest.mark.slow

ATTENTION = {"distance", "attention", "rollout", "similarity"}
FAST = [name for name in PICTURES if name != "projection"]


@pytest.mark.parametrize("kind", MODELS)
def test_every_picture_of_every_model_is_drawn_and_the_others_are_explained(tmp_path: Path, kind: str) -> None:
    findings = look([make_sight(get(tmp_path, kind), count=6)], None)
    expected = {"projection"} | (ATTENTION | {"positions"} if kind in CONVOLUTIONS else set())
    expected |= {"positions"} if kind == "axial" else set()
    assert set(findings.left_out) == expected
    assert set(findings.pages) == set(findings.lines) == set(findings.numbers) == set(PICTURES) - expected
    for name, page in findings.pages.items():
        assert page.width == 1500, name
        assert 200 < page.height < 3000, name
        assert findings.lines[name][0]


def test_pages_and_numbers_are_written_under_their_names(tmp_path: Path) -> None:
    sights = [make_sight(get(tmp_path / "model", "tnt"))]
    facts = write(tmp_path / "new/inspect", look(sights, ["filters", "distance"]), sights)
    assert {path.name for path in (tmp_path / "new/inspect").iterdir()} == {
        "filters.png",
        "distance.png",
        "inspect.json",
    }
    assert json.loads((tmp_path / "new/inspect/inspect.json").read_text()) == facts
    assert (facts["images"], facts["models"][0]["grid"]) == (12, [3, 5])
    with Image.open(facts["pictures"]["distance"]) as picture:
        assert picture.width == 1500
        assert len(picture.convert("RGB").getcolors(100_000)) > 50


def test_two_models_stand_side_by_side_and_what_one_lacks_is_left_out(tmp_path: Path) -> None:
    tnt, deit, resnet = (
        replace(make_sight(get(tmp_path / kind, kind), width=HALF), title=f"{kind}: tiny")
        for kind in ("tnt", "deit", "resnet")
    )
    findings = look([tnt, deit], FAST)
    for name in FAST:
        assert len(findings.lines[name]) == len(findings.numbers[name]) == 2
        assert {"tnt: tiny", "deit: tiny"} <= {words.text for words in findings.pages[name].words}
    assert set(look([tnt, resnet], None).pages) == {"filters", "features", "projection"}


def test_attention_of_a_convolutional_model_asked_for_by_name_is_refused_with_what_it_has(tmp_path: Path) -> None:
    sight = make_sight(get(tmp_path, "resnet"))
    with pytest.raises(UsageError, match="a convolutional model has no attention") as refused:
        look([sight], ["filters", "rollout"])
    assert refused.value.hint == "It has filters, features, projection."


def test_names_of_pictures_are_read_in_their_order_and_an_unknown_one_is_refused_with_the_list() -> None:
    assert read_only(" rollout,filters") == ["filters", "rollout"]
    assert read_only(None) is None
    with pytest.raises(UsageError, match="there is no picture 'filter'") as refused:
        read_only("filter")
    assert all(name in refused.value.hint for name in PICTURES)


def test_pictures_go_to_the_run_or_beside_the_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "model").mkdir()
    (run / "resolved.yaml").touch()
    (run / "checkpoints/best.pt").touch()
    (tmp_path / "weights.npz").touch()
    places = {
        path: find_place(tmp_path / path) for path in ("run", "run/model", "run/checkpoints/best.pt", "weights.npz")
    }
    assert set(places.values()) == {run / "inspect", tmp_path / "inspect"}
    assert places["weights.npz"] == tmp_path / "inspect"
    assert [call(tmp_path / path) for path in places] == ["run", "run", "run_best", "weights"]


def test_a_title_says_which_model_it_is_and_of_what_size(tmp_path: Path) -> None:
    for kind, title in (
        ("hybrid", "m: Hybrid ViT, 2 layers, 3x5 patches, 12x20 pixels"),
        ("resnet", "m: ResNet 18, 12x20 pixels"),
    ):
        ready = get(tmp_path / "m", kind)
        assert " ".join(entitle(tmp_path / "m", ready).split()) == title


def test_without_data_and_without_images_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no images to look at") as refused:
        open_albums([get(tmp_path, "cls")], [], None, None)
    assert "--only filters,positions" in refused.value.hint
