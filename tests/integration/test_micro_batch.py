"""`train.micro_batch: auto` through the command: found once, shown, kept for the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.test_resume import final, same
from vit_cli.train import fit

AUTO = "train.micro_batch=auto"


def micro_batch(run: Path) -> int:
    found: int = json.loads((run / "plan.json").read_text())["micro_batch"]
    return found


def test_a_run_goes_on_with_the_number_it_found_unless_it_is_told_another(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    parted, whole = tmp_path / "parted", tmp_path / "whole"
    with pytest.MonkeyPatch.context() as machine:
        machine.setattr(fit, "free_memory", lambda: 0)
        assert vit("train", recipe, AUTO, "--out", parted, "--time", "0s", "-q").code == 143
    assert micro_batch(parted) == 2
    assert "batch: 8 = 1 x 8, in 4 micro batches of 2, the most that fits" in (parted / "train.log").read_text()
    assert vit("resume", parted, "-q").code == 0
    assert micro_batch(parted) == 2
    assert vit("train", recipe, "train.micro_batch=2", "--out", whole, "-q").code == 0
    assert same(final(parted), final(whole))

    (parted / "report.html").unlink()  # else a finished run is left alone
    assert vit("resume", parted, "-q", "train.micro_batch=4").code == 0
    assert micro_batch(parted) == 4


def test_where_memory_is_plenty_a_batch_stays_in_one_piece(vit: Run, recipe: Path, tmp_path: Path) -> None:
    result = vit("train", recipe, AUTO, "--dry-run", "--json")
    assert result.code == 0
    plan = json.loads(result.out)["plan"]
    assert (plan["micro_batch"], plan["micro_batches"]) == (8, 1)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", pytest.param("full", marks=pytest.mark.long)])
def test_two_processes_agree_on_a_number(vit_process: Run, recipe: Path, tmp_path: Path, shard: str) -> None:
    run = tmp_path / "two"
    result = vit_process("train", recipe, AUTO, f"train.shard={shard}", "--devices", 2, "--out", run, "-q")
    assert (result.code, result.err) == (0, "")
    assert micro_batch(run) == 4
