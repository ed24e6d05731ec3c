"""`vit eval` in depth: several resolutions, flips, harmed images, a folder of what was found, gates, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.integration.conftest import Run, is_refused
from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import write_model
from vit_cli.models.vit import Vit

KEYS = ["top1", "top5", "loss", "images", "classes", "res", "seconds", "images_per_second"]
"""What one evaluation has always told as JSON."""


@pytest.fixture
def model(photos: Path, tmp_path: Path) -> Path:
    """A model of random weights, which knows the photos for its own."""
    section = Vit(width=16, depth=1, heads=2, patch=8, res=32)
    torch.manual_seed(1)
    network = section.build(3)
    torch.nn.init.normal_(network.head.weight)
    place = {"name": "folder", "root": str(photos)}
    about = {
        "model": section.model_dump(mode="json"),
        "res": [32, 32],
        "class_names": ["blue", "green", "red"],
        "preprocess": Preprocess().model_dump(mode="json"),
        "data": {"train": place, "val": place},
    }
    write_model(tmp_path / "model", network.state_dict(), about)
    return tmp_path / "model"


def test_one_resolution_is_a_document_and_several_are_a_list(vit: Run, model: Path) -> None:
    one = json.loads(vit("eval", model, "--json").out)
    assert list(one)[: len(KEYS)] == KEYS
    assert {"ece", "macro_f1", "macro_recall"} <= one.keys()
    several = json.loads(vit("eval", model, "--json", "--res", "32,48", "--corruptions", "jpeg", "--flips").out)
    assert [each["res"] for each in several] == [[32, 32], [48, 48]]
    assert several[0]["flips"]
    assert len(several[1]["corruptions"]["kinds"]["jpeg"]["strengths"]) == 5
    shown = vit("eval", model, "--res", "32,48")
    assert [line.split()[0] for line in shown.out.splitlines()[:3]] == ["pixels", "32x32", "48x48"]
    assert "positions  4x4 -> 6x6" in shown.err


def test_a_folder_holds_numbers_tables_and_pictures(vit: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "a/found"
    result = vit("eval", model, "--data", photos, "--out", out, "--json")
    assert result.code == 0, result
    told, kept = json.loads(result.out), json.loads((out / "evaluation.json").read_text())
    assert {key: kept[key] for key in told} == told
    assert sum(each["images"] for each in kept["calibration"]) == told["images"] == 36
    gaps = sum(each["images"] * abs(each["confidence"] - each["accuracy"]) for each in kept["calibration"])
    assert gaps / 36 == pytest.approx(told["ece"], abs=1e-9)
    rows = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["true / predicted", "blue", "green", "red"]
    assert [sum(map(int, row[1:])) for row in rows[1:]] == [12, 12, 12]
    recalls = {
        row["class"]: float(row["recall"]) for row in csv.DictReader((out / "per_class.csv").read_text().splitlines())
    }
    assert recalls == {name: pytest.approx(100 * int(rows[i + 1][i + 1]) / 12) for i, name in enumerate(recalls)}
    wrong = 36 - round(told["top1"] * 36 / 100)
    pictures = {"reliability.png", "confusion_matrix.png", "worst.png", "confident_mistakes.png"}
    assert wrong
    assert {path.name for path in out.glob("*.png")} == pictures
    for name in pictures:
        Image.open(out / name).verify()
    assert is_refused(vit("eval", model, "--out", out), 2, "not empty", "--overwrite")
    assert vit("eval", model, "--out", out, "--overwrite", "--res", "32,48", "-q").code == 0
    assert (out / "48x48/evaluation.json").is_file()


def test_gates_know_the_new_scores_and_which_way_is_better(vit: Run, model: Path) -> None:
    ece = json.loads(vit("eval", model, "--json").out)["ece"]
    assert vit("eval", model, "--fail-under", f"ece={ece + 0.01:.4f},macro_f1=0").code == 0
    assert is_refused(vit("eval", model, "--fail-under", f"ece={ece - 0.01:.4f}"), 6, "ece is", "above")
    result = vit("eval", model, "--res", "32,48", "--fail-under", "macro_recall=1,ece=0")
    assert is_refused(result, 6, "ece at 32x32", "ece at 48x48")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--res", "30,32,50"], ["--res 30: 30 is not a multiple of patch 8", "the nearest are 48 and 56"]),
        (["--res", "32x48"], ["--res 32x48 is not understood"]),
        (["--res", "0"], ["--res 0 is not understood"]),
        (["--corruptions", "fog,noise,snow"], ["'fog', 'snow'", "pixelate"]),
        (["--res", "32,48", "--predictions", "all.csv"], ["one table"]),
        (["--real", "real.json"], ["ImageNet's 1000 classes"]),
        (["--fail-under", "real=0.5"], ["no such score"]),
        (["--out", "model/config.json/x"], ["can't be written"]),
        (["--out", "model"], ["not empty"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_refused(vit: Run, model: Path, words: list[str], says: list[str]) -> None:
    before = sorted(model.rglob("*"))
    assert is_refused(vit("eval", model, *words), 2, *says)
    assert sorted(model.rglob("*")) == before


def test_images_that_are_none_and_classes_that_do_not_match_leave_no_folder(
    vit: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "red/000.jpg").write_bytes(b"no picture")
    assert is_refused(vit("eval", model, "--data", photos, "--out", "found"), 3, "000.jpg", "can't be evaluated")
    (photos / "red").rename(photos / "0")
    assert is_refused(vit("eval", model, "--data", photos, "--out", "found"), 3, "1 class: 0", "matched by name")
    assert not (tmp_path / "found").exists()
