"""`vit data pack` and `vit data import`, run as the real command; and training on what they make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.conftest import TINY, Run, is_refused, write_photos


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_pack_tells_what_it_did(vit: Run, photos: Path, tmp_path: Path) -> None:
    result = vit("data", "pack", photos, "packed", "--shards", "20K", "--workers", "1", "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert (facts["images"], facts["classes"], facts["bad"], facts["format"]) == (36, 3, 0, "wds")
    assert facts["shards"] == len(list((tmp_path / "packed").glob("shard-*.tar"))) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "photos"]
    plain = vit("data", "pack", photos, "small", "--short-side", "16", "--quality", "80", "--workers", "2")
    assert plain.code == 0
    assert "36 images of 3 classes: blue, green, red in 1 shard," in plain.out
    again = vit("data", "pack", "small", "again", "--workers", "1")
    assert "36 images" in again.out


def test_training_and_evaluation_take_packs(vit: Run, photos: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        assert vit("data", "pack", photos, f"packs/{name}", "--workers", "1", "-q").code == 0
    recipe = tmp_path / "tiny.yaml"
    text = TINY.format(root=photos, workers=0, steps=8)
    recipe.write_text(text.replace(f"{{name: folder, root: {photos}}}", "{name: shards, path: packs, split: train}"))
    trained = vit("train", recipe, "--out", "run")
    assert trained.code == 0, trained.err
    scored = vit("eval", "run", "--data", "packs", "--json")
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["images"] == 36


def test_the_same_images_are_held_out_of_a_pack_and_score_the_same(vit: Run, photos: Path, recipe: Path) -> None:
    assert vit("data", "pack", photos, "packed", "--workers", "1").code == 0
    assert vit("train", recipe, "--out", "run").code == 0
    scores = [json.loads(vit("eval", "run", "--data", place, "--json").out) for place in (photos, "packed")]
    assert [score["images"] for score in scores] == [36, 36]
    assert scores[0]["top1"] == scores[1]["top1"]
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=1e-5)


def test_a_recipe_is_packed_by_its_own_source(vit: Run, tmp_path: Path) -> None:
    result = vit("data", "pack", "smoke", "packed", "--workers", "1", "--json")
    assert result.code == 0, result.err
    assert is_refused(vit("data", "pack", "digits_multilabel", "other"), 2, "asks for multilabel")
    assert is_refused(vit("data", "pack", "smoke", "other", "--split", "val"), 3, "no split 'val'")
    assert not (tmp_path / "other").exists()


def test_a_recipe_tells_how_large_a_picture_may_be(vit: Run, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(photos / "red" / "large.jpg")
    text = TINY.format(root=photos, workers=0, steps=8)
    (tmp_path / "tiny.yaml").write_text(text.replace("data:", "data:\n  max_pixels: 9999"))
    result = vit("data", "pack", "tiny.yaml", "packed", "--workers", "1")
    assert result.code == 0, result.err
    assert "36 images" in result.out
    assert "1 broken one left out" in result.out


def test_wrong_arguments_are_told(vit: Run, photos: Path, tmp_path: Path) -> None:
    for words, code, told in (
        (["pack", "nowhere", "d"], 3, "is not there"),
        (["pack", photos, "d", "--shards", "many"], 2, "is no size of a shard"),
        (["pack", photos, "d", "--shards", "10"], 2, "is no size of a shard"),
        (["pack", photos, photos], 2, "is not empty"),
        (["import", "nowhere"], 3, "is not there"),
        (["import", photos], 3, "holds no .tar"),
    ):
        assert is_refused(vit("data", *words), code, told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_broken_pictures_beyond_the_allowed_share_end_with_3(vit: Run, photos: Path, tmp_path: Path) -> None:
    for name in ("000", "001"):
        (photos / "red" / f"{name}.jpg").write_bytes(b"<html>")
    refused = vit("data", "pack", photos, "packed", "--workers", "1")
    assert is_refused(refused, 3, "2 of 36 images are broken, at most 1 of 36 may be", "bad.jsonl")
    allowed = vit("data", "pack", photos, "packed", "--workers", "1", "--max-bad", "0.1")
    assert allowed.code == 0
    assert "2 broken ones left out" in allowed.out
    assert len((tmp_path / "packed" / "bad.jsonl").read_text().splitlines()) == 2


@pytest.mark.case("V2")
@pytest.mark.long
def test_a_full_disk_ends_with_5_and_the_pack_goes_on_later(vit_process: Run, tmp_path: Path) -> None:
    import resource

    write_photos(tmp_path / "photos")
    command = ["data", "pack", "photos", "packed", "--shards", "20K", "--workers", "1"]
    full = vit_process(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)))
    assert is_refused(full, 5, "packed can't be written: File too large")
    assert not list((tmp_path / "packed").rglob("*.part"))
    assert vit_process(*command).code == 0
    assert vit_process(*command[:3], "whole", *command[4:]).code == 0
    assert content_of(tmp_path / "packed") == content_of(tmp_path / "whole")


def children_of(number: int) -> list[int]:
    path = Path(f"/proc/{number}/task/{number}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_pack_that_was_killed_becomes_the_same_and_leaves_no_process(
    vit_process: Run, tmp_path: Path, workers: int
) -> None:
    write_photos(tmp_path / "photos", per_class=250, size=(160, 200))
    command = ["data", "pack", "photos", "packed", "--short-side", "100", "--shards", "40K", "--workers", str(workers)]
    assert vit_process(*command[:3], "whole", *command[4:]).code == 0
    kills = 0
    for _ in range(3):
        before = len(list((tmp_path / "packed").glob("parts/*.json"))) if kills else 0
        process = subprocess.Popen([sys.executable, "-m", "vit_cli", *command], cwd=tmp_path, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "packed").glob("parts/*.json"))) <= before:
            time.sleep(0.005)
        children = children_of(process.pid)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        end = time.monotonic() + 15
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < end:
            time.sleep(0.05)
        assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert kills == 3
    assert not (tmp_path / "packed" / "index.json").exists()
    assert vit_process(*command).code == 0
    assert content_of(tmp_path / "packed") == content_of(tmp_path / "whole")


def test_tars_of_others_are_imported_where_they_lie(vit: Run, photos: Path, tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "tars").mkdir()
    for number, name in enumerate(("blue", "green", "red")):
        with tarfile.open(tmp_path / "tars" / f"s-{number}.tar", "w") as tar:
            tar.add(photos / name, arcname=name)
    result = vit("data", "import", "tars", "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert (facts["images"], facts["classes"], facts["shards"]) == (36, 3, 3)
    checked = vit("data", "import", "tars", "--verify")
    assert checked.code == 0
    assert "has no checksums" in checked.err
    assert is_refused(vit("data", "import", "tars"), 2, "is there already")
    shard = tmp_path / "tars" / "s-1.tar"
    shard.write_bytes(shard.read_bytes()[:-20_000])
    assert is_refused(vit("data", "import", "tars", "--verify"), 3, "does not fit its shards", "s-1.tar")
    assert is_refused(vit("data", "import", "tars", "--out", "index"), 3, "s-1.tar: ", "cut off")
    assert not (tmp_path / "index").exists()


def test_pictures_of_a_pack_are_whole(vit: Run, photos: Path, tmp_path: Path) -> None:
    """With no tool of ours: unpacked by tar, each picture is the file that it was."""
    assert vit("data", "pack", photos, "packed", "--workers", "1").code == 0
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xf", tmp_path / "packed" / "shard-000000.tar", "-C", tmp_path / "out"], check=True)
    files = sorted((tmp_path / "out").rglob("*.jpg"))
    assert len(files) == 36
    for file in files:
        name = file.relative_to(tmp_path / "out").with_suffix("")
        assert file.read_bytes() == (photos / os.fspath(name).replace("%2E", ".")).read_bytes()
        Image.open(file).load()
