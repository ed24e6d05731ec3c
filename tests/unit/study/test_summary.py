"""Verdicts on claims, and what is written of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vit_cli.report.effects import draw_study
from vit_cli.study.jobs import make_jobs
from vit_cli.study.schema import load_study
from vit_cli.study.summary import judge, listed, summarise, write_page, write_summary


def write_results(tmp_path: Path, name: str, gains: dict[str, float], *changes: str) -> dict[str, Any]:
    """Make up the results of a study: each arm as much better as said, with folds and seeds that differ."""
    loaded = load_study(name, changes)
    grid = make_jobs(loaded, tmp_path / "runs")
    for (arm, (fold, seed)), job in grid.items():
        job.folder.mkdir(parents=True, exist_ok=True)
        score = 90 + fold + 0.1 * seed + gains.get(arm, 0.0) + (0.02 * fold if arm in gains else 0)
        result = {
            "digest": job.digest,
            "scores": {"top1": score, "val_loss": 0.5},
            "seconds": 6.0,
            "parameters": 1000,
            "train_flops": 10**9 * (1 + len(arm)),
            "images": [80, 20],
        }
        (job.folder / "result.json").write_text(json.dumps(result))
    return summarise(loaded, grid)


def test_a_summary_says_what_is_better_worse_and_undecided(tmp_path: Path) -> None:
    summary = write_results(tmp_path, "positions", {"none": -3.0, "rope": 1.0})
    verdicts = {arm["name"]: arm["verdict"] for arm in summary["arms"]}
    assert verdicts == {
        "learned": None, "none": "worse", "rope": "better",
        "learned2d": "undecided", "relative": "undecided", "sincos2d": "undecided",
    }  # fmt: skip
    assert summary["outcome"] == "holds in part", "rope was claimed to be the same"
    assert summary["runs"] == {"done": 90, "of": 90}
    assert summary["arms"][0]["seed_spread"] == pytest.approx(0.1)


def test_the_page_holds_the_numbers_and_the_command(tmp_path: Path) -> None:
    page = write_page(write_results(tmp_path, "positions", {"none": -3.0}, "seeds=[0, 7]"))
    assert "| no positions | 89.39 | ± 0.49 | -2.96 [-3.02, -2.90] | learned, 1-D | -2.82 | worse | worse |" in page
    assert "`vit study positions 'seeds=[0, 7]'`: 60 runs, folds 0-4, seeds 0 7;" in page
    assert "**Here: holds.**" in page


def test_a_study_that_has_not_run_says_so(tmp_path: Path) -> None:
    loaded = load_study("tnt", ["folds=[0]"])
    summary = summarise(loaded, make_jobs(loaded, tmp_path / "runs"))
    assert summary["outcome"] == "not run yet"
    write_summary(tmp_path / "out", summary)
    assert json.loads((tmp_path / "out/study.json").read_text())["runs"] == {"done": 0, "of": 15}


@pytest.mark.parametrize(
    ("arms", "outcome"),
    [
        ([("worse", "worse"), ("same", "undecided")], "holds"),
        ([("worse", "worse"), ("worse", "undecided")], "holds as far as decided"),
        ([("worse", "undecided"), ("same", "undecided")], "undecided"),
        ([("same", "undecided")], "undecided"),
        ([("worse", "better")], "does not hold"),
        ([("same", "worse")], "does not hold"),
        ([("better", "worse"), ("better", "undecided")], "does not hold as far as decided"),
        ([("better", "worse"), ("better", "better")], "holds in part"),
        ([("better", None)], "not run yet"),
        ([(None, "better")], "nothing was claimed"),
    ],
)
def test_a_claim_is_judged_by_what_it_expects(arms: list[tuple[str | None, str | None]], outcome: str) -> None:
    assert judge([{"expected": expected, "verdict": verdict} for expected, verdict in arms]) == outcome


@pytest.mark.parametrize(
    "name", ["positions", *(pytest.param(name, marks=pytest.mark.slow) for name in ("small_data", "compute"))]
)
def test_a_plot_is_drawn_of_rows_and_of_lines(name: str, tmp_path: Path) -> None:
    summary = write_results(tmp_path, name, {"none": -3.0}, "seeds=[0]", "folds=[0, 1]")
    draw_study(summary, tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_that_follow_each_other_are_a_range() -> None:
    assert (listed([0, 1, 2, 3]), listed([0, 1]), listed([2, 4, 9])) == ("0-3", "0 1", "2 4 9")
