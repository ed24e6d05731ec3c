"""A stopped run goes on to the same end, to the bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.integration.conftest import TINY, Run, is_refused, write_photos
from vit_cli.checkpoint.file import read_checkpoint, write_checkpoint


def final(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of a run's last checkpoint: weights, averages and the optimiser's moments."""
    content = torch.load(run / "checkpoints/last.pt", weights_only=True)
    moments = {
        f"{i}.{key}": value for i, state in content["optimizer"]["state"].items() for key, value in state.items()
    }
    averages = {f"ema.{name}": tensor for name, tensor in content["ema"].items()}
    return content["model"] | averages | moments


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_stopped_by_sigterm_ends_equal_to_the_bit(
    tmp_path: Path, photos: Path, vit_process: Run, workers: int
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TINY.format(root=photos, workers=workers, steps=40))
    assert vit_process("train", recipe, "--out", "whole", "-q").code == 0
    words = [sys.executable, "-m", "vit_cli", "train", str(recipe), "--out", "parted", "-q"]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    steps = tmp_path / "parted/steps.jsonl"
    while process.poll() is None and (not steps.exists() or len(steps.read_text().splitlines()) < 6):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "vit resume" in err
    status = json.loads((tmp_path / "parted/status.json").read_text())
    assert status["status"] == "interrupted"
    assert 0 < status["step"] < 40
    assert vit_process("resume", "parted", "-q").code == 0
    assert same(final(tmp_path / "whole"), final(tmp_path / "parted"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parted"), "no missing or doubled row, and the same numbers"


def rows(run: Path) -> list[list[str]]:
    """What metrics.csv says about learning, without what depends on the clock; and whether the row was the best."""
    lines = (run / "metrics.csv").read_text().splitlines()
    return [[*line.split(",")[:7], line.split(",")[-1]] for line in lines]


def test_a_run_stopped_after_every_single_step_ends_equal_to_the_bit(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "whole", "-q").code == 0
    codes = [vit("train", recipe, "--out", tmp_path / "parted", "--time", "0s", "-q").code]
    while codes[-1] == 143:
        codes.append(vit("resume", tmp_path / "parted", "--time", "0s", "-q").code)
    assert codes == [143] * 10 + [0], "after the last step, too, only its evaluation is left"
    assert same(final(tmp_path / "whole"), final(tmp_path / "parted"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parted")
    best = [load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "parted")]
    assert same(*best)


def test_a_run_with_muon_ends_equal_to_the_bit_too(vit: Run, recipe: Path, tmp_path: Path) -> None:
    muon = "optim={name: muon, lr: 2e-3, layer_decay: 0.8}"
    assert vit("train", recipe, muon, "--out", tmp_path / "whole", "-q").code == 0
    assert vit("train", recipe, muon, "--out", tmp_path / "parted", "--time", "0s", "-q").code == 143
    assert vit("resume", tmp_path / "parted", "-q").code == 0
    whole = final(tmp_path / "whole")
    kinds = {name.partition(".")[2] for name in whole if name[0].isdecimal()}
    assert kinds == {"momentum", "exp_avg", "exp_avg_sq", "updates"}
    assert same(whole, final(tmp_path / "parted"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parted")


def test_a_run_without_a_checkpoint_starts_again_and_ends_equal(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "whole", "-q").code == 0
    assert vit("train", recipe, "--out", tmp_path / "parted", "--time", "0s", "-q").code == 143
    for path in (tmp_path / "parted/checkpoints").iterdir():
        path.unlink()
    assert vit("resume", tmp_path / "parted", "-q").code == 0
    assert same(final(tmp_path / "whole"), final(tmp_path / "parted"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parted")


def test_images_added_before_resuming_are_noticed(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "--time", "0s", "-q").code == 143
    (photos / "red/000.jpg").rename(photos / "red/new.jpg")
    write_photos(tmp_path / "more", per_class=3)
    (tmp_path / "more/red/002.jpg").rename(photos / "red/more.jpg")
    result = vit("resume", tmp_path / "run")
    assert result.code == 3, result
    assert "train: class red: 10 -> 11 images" in result.err


def test_early_stopping_ends_a_run_that_no_longer_gets_better(vit: Run, recipe: Path, tmp_path: Path) -> None:
    stop = "train.early_stop={patience: 2, metric: loss, min_delta: 10.0}"
    assert vit("train", recipe, "train.steps=40", stop, "--out", tmp_path / "run", "-q").code == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["step"] == 12, "the first evaluation sets the mark, two more do not pass it by 10"


def test_resuming_a_finished_run_says_so(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "-q").code == 0
    for changes in ([], ["data.workers=1"]):
        result = vit("resume", *changes)
        assert result.code == 0
        assert "is finished" in result.out
    refused = vit("resume", "optim.lr=0.1", "data.workers=1")
    assert is_refused(refused, 2, "is finished, so nothing of it can change: optim.lr=0.1\n", "vit finetune")


def test_resuming_with_another_recipe_is_refused(vit: Run, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "--time", "0s", "-q").code == 143
    resolved = tmp_path / "run/resolved.yaml"
    resolved.write_text(resolved.read_text().replace("lr: 0.002", "lr: 0.1"))
    result = vit("resume", tmp_path / "run")
    assert result.code == 4
    assert "recipe" in result.err


def test_mixed_batches_in_micro_batches_equal_the_big_batch(vit: Run, recipe: Path, tmp_path: Path) -> None:
    same_model = ["model.dropout=0", "model.drop_path=0", "optim={name: sgd, lr: 0.1, momentum: 0.9}"]
    assert vit("train", recipe, *same_model, "--out", tmp_path / "big", "-q").code == 0
    assert vit("train", recipe, *same_model, "train.micro_batch=2", "--out", tmp_path / "small", "-q").code == 0
    one, two = final(tmp_path / "big"), final(tmp_path / "small")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-6)


def test_a_finished_run_that_was_killed_before_its_report_gets_it_and_trains_no_more(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, "--out", run, "-q").code == 0
    before = (final(run), rows(run))
    for name in ("report.html", "README.md", "summary.json"):
        (run / name).unlink()
    assert vit("resume", run, "-q").code == 0
    assert all((run / name).is_file() for name in ("report.html", "README.md", "summary.json"))
    assert same(final(run), before[0])
    assert rows(run) == before[1]


def test_a_run_killed_between_its_best_checkpoint_and_the_export_exports_it_on_resume(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, "save.keep=1", "--out", run, "-q").code == 0
    best = (run / "checkpoints/best.pt").resolve()
    whole = load_file(run / "model/model.safetensors")
    for later in [path for path in run.glob("checkpoints/step-*.pt") if path.name > best.name]:
        later.unlink()
    for name in (
        "checkpoints/best.pt",
        "checkpoints/last.pt",
        "model/model.safetensors",
        "model/config.json",
        "report.html",
    ):
        (run / name).unlink()
    assert vit("resume", run, "-q").code == 0
    assert (run / "checkpoints/best.pt").resolve() == best
    assert same(load_file(run / "model/model.safetensors"), whole)


@pytest.mark.case("R24")
def test_a_checkpoint_of_an_older_vit_is_not_resumed_but_still_evaluated(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, "--out", run, "--time", "0s", "-q").code == 143
    path = run / "checkpoints/step-000001.pt"
    content = read_checkpoint(path)
    del content["clock"], content["state"]["skipped"], content["about"]["fingerprint"]
    write_checkpoint(path, content)
    refused = vit("resume", run)
    assert refused.code == 4, refused
    assert "lacks clock, state.skipped, about.fingerprint" in refused.err
    assert vit("eval", path, "--json").code == 0


def test_a_damaged_line_of_the_journal_is_dropped(vit: Run, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, "--out", run, "--time", "0s", "-q").code == 143
    for name in ("steps.jsonl", "metrics.csv", "nonfinite.jsonl"):
        with (run / name).open("ab") as file:
            file.write(b"\0\0\0\xff\n{}\n")
    assert vit("resume", run, "-q").code == 0
    assert [json.loads(line)["step"] for line in (run / "steps.jsonl").read_text().splitlines()] == list(range(1, 11))


def test_before_the_first_checkpoint_too_only_harmless_changes_are_taken(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, "--out", run, "--time", "0s", "-q").code == 143
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    refused = vit("resume", run, "optim.lr=1.0")
    assert refused.code == 4, refused
    assert "optim.lr: 0.002 -> 1.0" in refused.err
    taken = vit("resume", run, "save.keep=1")
    assert taken.code == 0
    assert "changed: save.keep: 3 -> 1" in taken.err


def test_a_folder_that_a_killed_start_left_behind_is_as_good_as_empty(vit: Run, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "lock").write_text("")
    (run / ".recipe.yaml.4711").write_text("half of")
    assert vit("train", recipe, "--out", run, "-q", "--time", "0s").code == 143
    assert not (run / ".recipe.yaml.4711").exists()
    assert vit("train", recipe, "--out", run, "-q").code == 2


def test_a_job_that_its_launcher_starts_again_goes_on_with_its_own_run_only(
    vit: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert vit("train", recipe, "--name", "first", "--time", "0s", "-q").code == 143
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert vit("train", recipe, "optim.lr=1e-3", "--name", "other", "-q").code == 0
    assert len(list(tmp_path.glob("runs/2*"))) == 2, "another recipe is another run"
    assert vit("train", recipe, "--name", "again", "-q").code == 0
    assert len(list(tmp_path.glob("runs/2*"))) == 2
    assert "finished already" in vit("train", recipe, "--name", "again").out


@pytest.mark.case("V5")
def test_too_little_space_for_the_checkpoints_is_told_at_the_start(
    vit: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: space)
    assert "the checkpoints may need" in vit("train", recipe, "--out", tmp_path / "run", "--time", "0s").err


@pytest.mark.case("N6")
def test_weights_that_are_not_finite_are_never_saved(vit: Run, recipe: Path, tmp_path: Path) -> None:
    words = ["optim={name: sgd, lr: 1e39}", "save.every=1 steps", "train.ema=null"]
    failed = vit("train", recipe, *words, "--out", tmp_path / "run")
    assert failed.code == 5, failed
    assert "they are not saved" in failed.err
    assert not list(tmp_path.glob("run/checkpoints/step-*"))
