"""`vit bench` on tiny models: what it promises in JSON, whatever it is pointed at, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import TINY, Run, is_refused

KEYS = {
    *("subject", "model", "res", "classes", "data", "augment", "augment_elsewhere", "mix", "device", "processes"),
    *("precision", "batch_size", "recipe_batch_size", "process_batch", "micro_batch", "torch", "vit", "parameters"),
    *("tokens", "flops_per_image", "training_flops_per_image", "latency", "inference", "training"),
    "matrix_flops_per_second",
}
RATES = {
    *("batch_size", "images_per_second", "images_per_second_p10", "images_per_second_p90", "seconds", "calls", "mfu"),
    "memory_gib",
}
QUICK = ("--seconds", "0.05", "--devices", "cpu", "--json")


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """A recipe whose data is not there."""
    path = tmp_path / "lost.yaml"
    path.write_text(TINY.format(root=tmp_path / "nowhere", workers=0, steps=10))
    return path


def check(facts: dict[str, Any]) -> None:
    """Hold what was measured against itself."""
    for name in ("training", "inference"):
        part, flops = facts[name], facts["training_flops_per_image" if name == "training" else "flops_per_image"]
        assert part.keys() >= RATES
        assert 0 < part["mfu"] < 1.5
        assert part["images_per_second_p10"] <= part["images_per_second"] <= part["images_per_second_p90"]
        assert part["images_per_second"] == pytest.approx(part["batch_size"] / part["seconds"])
        share = part["images_per_second"] * flops / facts["matrix_flops_per_second"]
        assert part["mfu"] == pytest.approx(share)
        assert part["calls"] >= 3
    assert 0 < facts["latency"]["p50_ms"] <= facts["latency"]["p95_ms"]
    assert facts["training"]["memory_gib"] >= facts["inference"]["memory_gib"] > 0


def test_a_recipe_whose_data_is_missing_is_measured(vit: Run, lost: Path, tmp_path: Path) -> None:
    result = vit("bench", lost, *QUICK, "data.augment_on=device")
    assert (result.code, result.err) == (0, "")
    facts = json.loads(result.out)
    assert facts.keys() == KEYS
    check(facts)
    assert (facts["subject"], facts["classes"], facts["batch_size"], facts["mix"]) == ("lost", 1000, 8, True)
    assert facts["augment"] == ["random_resized_crop", "flip"]
    assert "supposed" in facts["data"]
    assert facts["training"]["compile_seconds"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["lost.yaml"]


def test_people_get_a_table(vit: Run, lost: Path) -> None:
    result = vit("bench", lost, *QUICK[:-1], "train.batch_size=6")
    assert result.code == 0, result
    assert "measuring" in result.err
    lines = result.out.splitlines()
    rows = [line.split() for line in lines if line.startswith(("training", "inference"))]
    assert [row[:2] for row in rows] == [["training", "6"], ["inference", "6"]]
    assert any(line.startswith("images") and "mixing; augmentation is left to workers" in line for line in lines)
    assert lines[-1].startswith("one image: ")


def test_a_run_is_measured_as_its_recipe_is(vit: Run, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert vit("train", recipe, "--out", run, "train.steps=2", "-q").code == 0
    for path in (run, run / "checkpoints" / "last.pt", run / "model"):
        facts = json.loads(vit("bench", path, *QUICK).out)
        assert (facts["classes"], facts["res"], facts["subject"]) == (3, [32, 32], str(path))
    check(facts)
    twice = json.loads(vit("bench", run, *QUICK, "model.res=64").out)
    assert twice["tokens"] == 64
    assert twice["parameters"] > facts["parameters"], "learned positions"


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks_are_measured(vit: Run, task: str) -> None:
    facts = json.loads(vit("bench", f"digits_{task}", *QUICK, "model.depth=1", "train.batch_size=2").out)
    check(facts)
    assert facts["classes"] == {"multilabel": 4, "regression": 1}[task]


def test_a_teacher_that_is_missing_is_told_of(vit: Run, lost: Path) -> None:
    lost.write_text(lost.read_text() + "distill: {teacher: runs/wise}\n")
    result = vit("bench", lost, *QUICK)
    assert is_refused(result, 4, "there is no teacher", "wise", "distill=null")
    assert vit("bench", lost, *QUICK, "distill=null").code == 0


def test_a_teacher_costs_a_forward_pass(vit: Run, lost: Path, recipe: Path, tmp_path: Path) -> None:
    assert vit("train", recipe, "--out", tmp_path / "run", "train.steps=2", "-q").code == 0
    alone = json.loads(vit("bench", tmp_path / "run", *QUICK).out)
    lost.write_text(lost.read_text() + f"distill: {{teacher: {tmp_path / 'run'}}}\n")
    taught = json.loads(vit("bench", lost, *QUICK).out)
    assert taught["classes"] == 3
    extra = taught["training_flops_per_image"] - alone["training_flops_per_image"]
    assert extra == alone["flops_per_image"]


def test_what_is_not_there_or_makes_no_sense_is_refused(vit: Run, lost: Path, tmp_path: Path) -> None:
    assert is_refused(vit("bench", "digitz", *QUICK), 2, "digitz", "Did you mean digits?")
    assert is_refused(vit("bench", lost, "optim.lrr=1", *QUICK), 2, "optim.lrr", "'lr'")
    assert is_refused(vit("bench", "digits", "smoke", *QUICK), 2, "takes one RECIPE_OR_CHECKPOINT")
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    assert is_refused(vit("bench", tmp_path / "broken.pt", *QUICK), 4, "broken.pt")


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_measure_together(vit_process: Run, lost: Path) -> None:
    result = vit_process("bench", lost, "--seconds", 0.05, "--devices", 2, "--json")
    assert result.code == 0, result
    facts = json.loads(result.out)
    assert (facts["processes"], facts["batch_size"], facts["process_batch"]) == (2, 8, 4)
    check(facts)


def test_help_has_an_example(vit: Run) -> None:
    assert "vit bench " in vit("bench", "--help").out.partition("Example:")[2]
