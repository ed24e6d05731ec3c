"""Going on with a run: anywhere, several times, on other processes and workers; and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.faults.conftest import ORDERED, RECIPE, Result, Shell, result_of, saved_steps, stamps
from tests.integration.conftest import Run
from vit_cli.checkpoint.file import read_checkpoint

Whole = Callable[..., Result]


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("R15")
def test_a_run_stopped_twice_in_one_epoch_ends_equal(shell: Shell, whole: Whole) -> None:
    assert shell.train(fault="term@step=4").code == 143
    assert saved_steps(shell.run)[-1] == 5
    assert shell.resume(fault="term@step=9").code == 143
    assert saved_steps(shell.run)[-1] == 10, "an epoch is 12 steps"
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.long
@pytest.mark.case("R16")
def test_a_run_stopped_at_the_end_of_an_epoch_and_of_the_run_ends_equal(shell: Shell, whole: Whole) -> None:
    assert shell.train(fault="term@step=11").code == 143
    assert saved_steps(shell.run)[-1] == 12
    assert shell.resume(fault="term@step=23").code in (0, 143)
    assert saved_steps(shell.run)[-1] == 24
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()
    before = stamps(shell.run)
    ended = shell("resume", shell.run)
    assert ended.code == 0
    assert "is finished" in ended.out
    assert stamps(shell.run) == before, "nothing was trained again"


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("R17")
def test_a_run_saved_right_after_it_went_on_ends_equal(shell: Shell, whole: Whole) -> None:
    assert shell.train(fault="term@step=5").code == 143
    assert saved_steps(shell.run) == [6]
    assert shell.resume("--time", "0s").code == 143
    assert saved_steps(shell.run) == [6, 7]
    assert shell.resume("save.every=1 steps", fault="kill@step=10").code == -signal.SIGKILL
    assert saved_steps(shell.run)[-1] in (9, 10), "the tenth may have been on its way"
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("R18")
def test_the_number_of_workers_changes_nothing(shell: Shell, whole: Whole) -> None:
    assert shell.train(fault="term@step=5").code == 143
    assert shell.resume("data.workers=0", fault="term@step=13").code == 143
    assert saved_steps(shell.run)[-1] == 14
    assert shell.resume("data.workers=4").code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.long
@pytest.mark.case("R19")
def test_other_numbers_of_processes_see_the_same_images_mixed_in_the_same_way(shell: Shell, whole: Whole) -> None:
    assert shell.train(*ORDERED, processes=2, fault="term@step=5,rank=0").code == 143
    assert shell.resume(processes=4, fault="term@step=13,rank=3").code == 143
    assert shell.resume().code == 0
    expected, found = whole(1, *ORDERED), result_of(shell.run)
    assert [step[0] for step in found.steps] == list(range(1, 25))
    for one, other in zip(expected.steps, found.steps, strict=True):
        assert other == pytest.approx(one, abs=1e-5)
    assert [row[0] for row in found.rows] == [row[0] for row in expected.rows]


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("R20")
def test_processes_that_the_batch_does_not_divide_among_are_refused(shell: Shell) -> None:
    assert shell.train("--time", "0s").code == 143
    before = stamps(shell.run)
    ended = shell.resume(processes=3)
    assert ended.code == 2, ended.err
    assert "a global batch of 8 can't be divided among 3 processes" in ended.err
    assert "nearest are 6 and 9" in ended.err
    assert stamps(shell.run) == before


@pytest.fixture
def stopped(vit: Run, tmp_path: Path, photos: Path) -> Path:
    """A run stopped after its first step, on a copy of the pictures that a test may change."""
    shutil.copytree(photos, tmp_path / "photos")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(photos=tmp_path / "photos"))
    assert vit("train", recipe, "data.workers=0", "--out", tmp_path / "run", "--time", "0s", "-q").code == 143
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("optim.lr=0.1", "optim.lr: 0.002 -> 0.1"),
        ("model.width=64", "model.width: 32 -> 64"),
        ("seed=1", "seed: 0 -> 1"),
        ("train.steps=48", "train.steps: 24 -> 48"),
    ],
)
@pytest.mark.case("R21")
def test_a_change_of_what_is_learned_is_refused_and_shown(vit: Run, stopped: Path, change: str, shown: str) -> None:
    ended = vit("resume", stopped, change)
    assert ended.code == 4, ended
    assert shown in ended.err
    assert saved_steps(stopped) == [1]


@pytest.mark.case("R21")
def test_a_recipe_edited_in_the_run_folder_is_refused_and_shown(vit: Run, stopped: Path) -> None:
    resolved = stopped / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("lr: 0.002", "lr: 0.1"))
    ended = vit("resume", stopped)
    assert ended.code == 4, ended
    assert "optim.lr: 0.002 -> 0.1" in ended.err


@pytest.mark.case("R21")
def test_a_change_of_what_may_change_is_taken_and_told(vit: Run, stopped: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "moved")
    moved = [f"data.{part}.root={tmp_path}/moved/{part}" for part in ("train", "val")]
    ended = vit("resume", stopped, *moved, "track.log_every=2 steps", "save.keep=1", "--time", "0s")
    assert ended.code == 143, ended
    assert saved_steps(stopped)[-1] == 2
    assert "save.keep: 3 -> 1" in ended.err


@pytest.mark.parametrize("what", ["added", "removed", "renamed"])
@pytest.mark.case("R22")
def test_other_images_than_before_are_noticed_and_their_class_named(
    vit: Run, stopped: Path, tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "photos/train/birch"
    if what == "added":
        shutil.copy(folder / "000.png", folder / "more.png")
    elif what == "removed":
        (folder / "000.png").unlink()
    else:
        (folder / "000.png").rename(folder / "other.png")
    ended = vit("resume", stopped)
    assert ended.code == 3, ended
    assert "birch" in ended.err
    assert saved_steps(stopped) == [1]


@pytest.mark.long
@pytest.mark.case("R23")
def test_one_run_has_one_process_and_the_lock_of_a_dead_one_is_taken_over(shell: Shell, whole: Whole) -> None:
    first = shell.start(*shell.words(), fault="sleep=600@step=8")
    shell.wait_for(lambda: len(saved_steps(shell.run)) == 2, first)
    second = shell.resume()
    assert second.code == 2, second.err
    assert str(first.pid) in second.err
    assert os.uname().nodename in second.err
    third = shell.train("--overwrite")
    assert third.code == 2, third.err
    first.kill()
    assert shell.wait(first).code == -signal.SIGKILL
    assert saved_steps(shell.run) == [6, 8], "the others touched nothing"
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.case("R24")
def test_a_checkpoint_of_another_format_is_refused_by_its_number(vit: Run, stopped: Path) -> None:
    path = stopped / "checkpoints/step-000001.pt"
    torch.save(read_checkpoint(path) | {"format_version": 99}, path)
    ended = vit("resume", stopped)
    assert ended.code == 4, ended
    assert "99" in ended.err
    assert saved_steps(stopped) == [1]


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.case("R26")
def test_draws_from_the_generators_of_the_process_change_nothing(shell: Shell, whole: Whole, tmp_path: Path) -> None:
    points = ("before_step", "after_backward", "val")
    draws = ";".join(f"draw@point={point},count=24" for point in points)
    assert shell.train(fault=draws).code == 0
    assert set((tmp_path / "0.faults").read_text().split()) == {f"draw@{point}" for point in points}
    assert result_of(shell.run) == whole()
