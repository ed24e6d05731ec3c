"""The run folder: never over another run, and always found again."""

from __future__ import annotations

import json
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vit_cli.errors import TrainingError, UsageError
from vit_cli.train.folder import (
    RunFolder,
    append,
    choose_folder,
    find_run,
    make_folder,
    mark_latest,
    release_folder,
    reserve_folder,
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(path: Path) -> RunFolder:
    folder = RunFolder(path.absolute())
    make_folder(folder)
    folder.write_text("resolved.yaml", "seed: 0\n")
    return folder


def test_a_run_is_named_after_its_time_and_its_recipe(here: Path) -> None:
    path = choose_folder("digits", None, overwrite=False)
    assert path.parent == here / "runs"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{6}_digits", path.name)
    assert not path.exists(), "choosing makes nothing"


def test_two_runs_of_the_same_second_get_two_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda text: "2026-11-20_101502")
    paths = []
    for _ in range(3):
        paths.append(choose_folder("digits", None, overwrite=False))
        make(paths[-1])
    assert len(set(paths)) == 3


def test_runs_that_start_together_never_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda text: "2026-11-20_101502")
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: reserve_folder("digits", None, overwrite=False).path, range(24)))
    assert len(set(folders)) == 24
    assert all(folder.is_dir() for folder in folders)


def test_a_reserved_folder_that_was_not_used_is_given_back(here: Path) -> None:
    release_folder(reserve_folder("digits", None, overwrite=False))
    assert list(here.iterdir()) == []
    folder = reserve_folder("digits", Path("mine"), overwrite=False)
    folder.write_text("notes.txt", "precious")
    release_folder(folder)
    assert (here / "mine" / "notes.txt").read_text() == "precious"


@pytest.mark.parametrize("out", [None, Path("runs")])
def test_a_link_to_nowhere_is_no_place_for_a_run(here: Path, out: Path | None) -> None:
    (here / "runs").symlink_to("gone")
    with pytest.raises(UsageError, match="can't be made"):
        reserve_folder("digits", out, overwrite=False)


def test_a_line_that_can_not_be_written_is_a_training_error(here: Path) -> None:
    append(here / "a.log", "one")
    append(here / "a.log", "two")
    assert (here / "a.log").read_text() == "one\ntwo\n"
    with pytest.raises(TrainingError, match="can't be written"):
        append(here, "three")


def test_the_log_has_the_time(here: Path) -> None:
    folder = make(here / "run")
    folder.write_log("something happened")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  something happened\n", folder.log.read_text())


def test_a_folder_with_anything_in_it_is_refused_unless_it_may_be_overwritten(here: Path) -> None:
    out = Path("mine")
    assert choose_folder("digits", out, overwrite=False) == here / "mine"
    out.mkdir()
    assert choose_folder("digits", out, overwrite=False) == here / "mine", "an empty folder is fine"
    (out / ".hidden").write_text("")
    with pytest.raises(UsageError, match="mine is not empty") as caught:
        choose_folder("digits", out, overwrite=False)
    assert "--overwrite" in caught.value.hint
    assert choose_folder("digits", out, overwrite=True) == here / "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_folder(overwrite: bool) -> None:
    Path("mine").write_text("precious")
    with pytest.raises(UsageError, match="mine is a file"):
        choose_folder("digits", Path("mine"), overwrite)
    assert Path("mine").read_text() == "precious"


OF_THE_OLD_RUN = [
    "checkpoints/step-000005.pt",
    "checkpoints/last.pt",
    "model/model.safetensors",
    "model/config.json",
    "metrics.csv",
    "steps.jsonl",
    "bad_images.jsonl",
    "train.log",
    "summary.json",
    "README.md",
    "plots/curves.png",
    "samples/worst.png",
    "inspect/inspect.json",
    "inspect/rollout.png",
]
OF_THE_USER = ["notes.txt", "checkpoints/notes.txt", "model/tokenizer.json", "photos/step-000001.pt", "samples/cat.png"]


def test_overwriting_removes_the_old_weights_journals_and_pictures_and_nothing_else(here: Path) -> None:
    for name in OF_THE_OLD_RUN + OF_THE_USER:
        path = here / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (here / "mine" / "checkpoints" / "best.pt").symlink_to("gone.pt")
    make_folder(RunFolder(here / "mine"))
    left = {path.relative_to(here / "mine").as_posix() for path in (here / "mine").rglob("*") if not path.is_dir()}
    assert left == set(OF_THE_USER)
    assert not (here / "mine" / "checkpoints" / "best.pt").is_symlink()


def test_a_place_that_can_not_be_made_is_a_usage_error(here: Path) -> None:
    (here / "file").write_text("")
    with pytest.raises(UsageError, match="can't be made: Not a directory") as caught:
        make_folder(RunFolder(here / "file" / "run"))
    assert caught.value.exit_code == 2


def test_an_overwritten_run_keeps_its_weights_if_the_new_one_can_not_start(here: Path) -> None:
    old = make(here / "mine")
    (old.checkpoints / "step-000005.pt").write_text("weights")
    (here / "runs" / "latest").unlink()
    (here / "runs").rmdir()
    (here / "runs").write_text("not a folder")
    with pytest.raises(UsageError, match="latest can't be made to point to the run"):
        make_folder(RunFolder(here / "mine"))
    assert (old.checkpoints / "step-000005.pt").read_text() == "weights"


def test_latest_is_the_newest_run_wherever_it_is(here: Path) -> None:
    first, second = make(here / "runs" / "first"), make(here / "elsewhere" / "second")
    assert find_run(None).path == second.path
    mark_latest(first.path)
    assert find_run(None).path == first.path
    assert (here / "runs" / "latest").readlink() == Path("first"), "relative: the folder can be moved"


def test_a_run_is_found_by_its_path_and_by_a_link(here: Path) -> None:
    run = make(here / "runs" / "first")
    assert find_run(Path("runs/first")).path == run.path
    assert find_run(Path("runs/latest")).path == run.path, "a later run must not pull the link away from this one"


def test_a_missing_run_is_told_with_what_to_do(here: Path) -> None:
    with pytest.raises(UsageError, match="there is no run here yet") as caught:
        find_run(None)
    assert "vit train" in caught.value.hint
    (here / "photos").mkdir()
    with pytest.raises(UsageError, match=r"photos is no run folder: it has no resolved\.yaml"):
        find_run(Path("photos"))


def test_the_names_of_a_run_folder_are_those_that_users_were_promised(here: Path) -> None:
    folder = make(here / "run")
    paths = [folder.checkpoints, folder.last, folder.best, folder.model, folder.resolved, folder.log]
    assert [path.relative_to(folder.path).as_posix() for path in paths] == [
        "checkpoints",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "model",
        "resolved.yaml",
        "train.log",
    ]


def test_files_are_written_whole_and_read_back(here: Path) -> None:
    folder = make(here / "run")
    assert folder.read_json("plan.json") == {}
    folder.write_json("plan.json", {"classes": ["dög"], "steps": 3})
    assert folder.read_json("plan.json") == {"classes": ["dög"], "steps": 3}
    assert "dög" in (folder.path / "plan.json").read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        folder.write_json("plan.json", {"bad": object()})
    assert folder.read_json("plan.json")["steps"] == 3


def test_what_is_no_number_is_null_for_other_programs(here: Path) -> None:
    folder = make(here / "run")
    folder.write_json("summary.json", {"step": 3, "last": {"val_loss": math.nan, "lr": 0.5}})
    text = (folder.path / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"step": 3, "last": {"val_loss": None, "lr": 0.5}}


def test_the_status_says_who_runs_and_when_it_was_last_heard_of(here: Path) -> None:
    folder = make(here / "run")
    folder.write_status("running", step=5)
    status = json.loads((folder.path / "status.json").read_text())
    assert status["status"] == "running"
    assert status["step"] == 5
    assert status["pid"] == os.getpid()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", status["heartbeat"])
