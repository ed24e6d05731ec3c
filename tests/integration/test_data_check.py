"""`vit data check` and `vit data preview` through the real command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.conftest import Run, is_refused, write_photos
from vit_cli.data.samples import Files


@pytest.fixture
def spoiled(photos: Path) -> Path:
    """Photos of which one is empty, one is in two classes, and one is there twice."""
    (photos / "red" / "empty.jpg").write_bytes(b"")
    shutil.copy(photos / "green" / "003.jpg", photos / "blue" / "copy.jpg")
    shutil.copy(photos / "green" / "004.jpg", photos / "green" / "copy.jpg")
    return photos


def test_good_data_passes_the_gate(vit: Run, photos: Path) -> None:
    result = vit("data", "check", photos, "--strict")
    assert result.code == 0
    assert "Problems\n  none\n" in result.out
    assert "3 classes of 10 images" in result.out
    assert result.err == ""


def test_what_is_wrong_is_shown_with_its_files(vit: Run, spoiled: Path) -> None:
    result = vit("data", "check", spoiled)
    assert result.code == 0
    assert "1 image can't be read (1 empty file)" in result.out
    assert f"{spoiled}/red/empty.jpg: empty file" in result.out
    assert "1 image has another label than an equal picture has" in result.out
    assert result.err == ""


def test_strict_refuses_after_the_report(vit: Run, spoiled: Path) -> None:
    result = vit("data", "check", spoiled, "--strict", "--workers", 2)
    assert is_refused(result, 6, "empty file")
    assert "Problems" in result.out


def test_json_is_one_document_with_everything(vit: Run, spoiled: Path) -> None:
    result = vit("data", "check", spoiled, "--json", "--strict")
    assert result.code == 6
    document = json.loads(result.out)
    assert sum(split["images"] for split in document["splits"]) == 39
    assert sum(sum(split["classes"].values()) for split in document["splits"]) == 39
    assert "conflicting" in {problem["kind"] for problem in document["problems"]}
    broken = [bad for split in document["splits"] for bad in split["broken_images"]]
    assert [(Path(bad["path"]).name, bad["reason"]) for bad in broken] == [("empty.jpg", "empty file")]


@pytest.mark.case("S4")
def test_splits_are_compared(vit: Run, photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(photos, root / "train")
    (root / "val" / "violet").mkdir(parents=True)
    shutil.copy(photos / "red" / "000.jpg", root / "val" / "violet" / "000.jpg")
    document = json.loads(vit("data", "check", root, "--json").out)
    found = {problem["kind"]: problem["examples"] for problem in document["problems"]}
    assert set(found) == {"classes", "shared", "conflicting"}
    assert [problem["examples"] for problem in document["problems"] if problem["kind"] == "classes"] == [
        ["violet"],
        ["blue", "green", "red"],
    ]


def test_a_recipe_and_changes_say_what_to_check(vit: Run, recipe: Path, photos: Path) -> None:
    other = write_photos(photos.parent / "other", per_class=5)
    result = vit("data", "check", recipe, f"data.train.root={other}", "data.hold_out=0.4", "--sample", 3)
    assert result.code == 0
    assert "9 images, folder" in result.out
    assert "3 of 9 images were looked at" in result.out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["gone"], 3, "gone is not there"),
        (["photos", "data.train.rot=x"], 2, "did you mean 'root'"),
        (["gone.yaml"], 2, "gone.yaml"),
        (["finetune"], 2, "without data of its own"),
    ],
)
def test_what_can_not_be_opened_is_refused(vit: Run, photos: Path, words: list[str], code: int, told: str) -> None:
    assert is_refused(vit("data", "check", *words), code, told)


def test_a_preview_is_a_picture_of_the_first_images(vit: Run, recipe: Path, tmp_path: Path) -> None:
    result = vit("data", "preview", recipe, "-o", "grid.png", "--rows", 2)
    assert (result.code, result.out, result.err) == (0, "grid.png\n", "")
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width > 6 * 100
        assert image.height > 4 * 100
    first = (tmp_path / "grid.png").read_bytes()
    vit("data", "preview", recipe, "-o", "other.png", "--rows", 2, "seed=1")
    vit("data", "preview", recipe, "-o", "again.png", "--rows", 2)
    assert (tmp_path / "again.png").read_bytes() == first
    assert (tmp_path / "other.png").read_bytes() != first
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("out", "told"), [("grid.jpg", "is no PNG"), ("gone/grid.png", "there is no folder gone")])
def test_a_preview_that_can_not_be_written_is_refused_at_once(vit: Run, recipe: Path, out: str, told: str) -> None:
    assert is_refused(vit("data", "preview", recipe, "-o", out), 2, told)


def test_what_is_not_there_is_told_before_torch_is_imported(photos: Path) -> None:
    program = (
        "import sys; from vit_cli.cli.data_check import check; from vit_cli.errors import VitError\n"
        "for where in ('phtos', 'phtos.yaml'):\n"
        "  try: check(where)\n"
        "  except VitError as error: print(type(error).__name__, error)\n"
        "print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", program]
    shown = subprocess.run(words, cwd=photos.parent, capture_output=True, text=True, timeout=60)
    first, hint, second, _, torch = shown.stdout.splitlines()
    assert (first, hint) == (f"DataError {photos.parent / 'phtos'} is not there", "  did you mean photos?")
    assert (second, torch) == ("RecipeError there is no file phtos.yaml", "False")


def test_a_preview_of_a_folder_says_how_to_draw_one(vit: Run, photos: Path) -> None:
    command = f"vit data preview photos data.train.root={photos}"
    assert is_refused(vit("data", "preview", photos, "-o", "grid.png"), 2, command)


def test_quiet_leaves_the_result_and_help_says_so(vit: Run, photos: Path) -> None:
    result = vit("data", "check", photos, "--quiet")
    assert (result.code, result.err) == (0, "")
    assert "Problems\n  none\n" in result.out
    for verb in (("data", "check"), ("data", "pack"), ("data", "import"), ("eval",)):
        assert "Show the result and errors only." in " ".join(vit(*verb, "--help").out.split())


def test_help_has_an_example(vit: Run) -> None:
    for verb in ("check", "preview"):
        assert f"vit data {verb} " in vit("data", verb, "--help").out.partition("Example:")[2]


def test_training_that_waits_says_once_what_would_help(vit: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Files.read

    def read_slowly(files: Files, index: int) -> bytes:
        time.sleep(0.005)
        return read(files, index)

    monkeypatch.setattr(Files, "read", read_slowly)
    result = vit("train", recipe, "train.steps=50", "eval.every=25 steps", "data.cache=none", "--out", "run")
    assert result.code == 0
    assert result.err.count("Training waits for images") == 1
    line = next(line for line in result.err.splitlines() if "Training waits" in line)
    assert "where it trains" in line
    assert "of it reading. What helps most: data." in line
    assert line in Path("run/train.log").read_text()
