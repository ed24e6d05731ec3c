"""The runs that a study means."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_cli.errors import RecipeError
from vit_cli.study.jobs import Grid, choose, make_jobs
from vit_cli.study.schema import load_study, shipped_studies

RUNS = Path("/studies/runs")
TEXT = """\
title: Two stages
claim: nothing
source: nowhere
published: nothing
base: digits_small
reference: plain
seeds: [0, 1]
folds: [0, 3]
arms:
  - {name: plain}
  - {name: same, changes: [model.depth=2, data.workers=1]}
  - {name: tuned, start: plain, changes: [model.res=32, train.epochs=2]}
  - {name: taught, teacher: plain, changes: [distill.kind=soft]}
"""


def jobs_of(tmp_path: Path, text: str = TEXT, runs: Path = RUNS) -> Grid:
    path = tmp_path / "two.yaml"
    path.write_text(text)
    return make_jobs(load_study(str(path)), runs)


def test_every_arm_runs_on_every_fold_with_every_seed(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    assert list(jobs)[:4] == [(name, (0, 0)) for name in ("plain", "same", "tuned", "taught")]
    assert {(job.recipe.data.fold, job.recipe.seed) for job in jobs.values()} == {(0, 0), (0, 1), (3, 0), (3, 1)}
    assert all((job.recipe.data.fold, job.recipe.seed) == cell for (_, cell), job in jobs.items())


def test_equal_runs_are_one(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    assert jobs["plain", (0, 0)].digest == jobs["same", (0, 0)].digest
    assert len({job.digest for job in jobs.values()}) == 3 * 4


def test_a_digest_does_not_depend_on_where_runs_lie(tmp_path: Path) -> None:
    here, there = jobs_of(tmp_path), jobs_of(tmp_path, runs=Path("/elsewhere/runs"))
    assert [job.digest for job in here.values()] == [job.digest for job in there.values()]


def test_a_digest_depends_on_the_weights_that_a_run_takes(tmp_path: Path) -> None:
    here, other = (
        jobs_of(tmp_path),
        jobs_of(tmp_path, TEXT.replace("{name: plain}", "{name: plain, changes: [optim.lr=1e-3]}")),
    )
    for name in ("tuned", "taught"):
        assert here[name, (0, 0)].digest != other[name, (0, 0)].digest


def test_stages_take_what_the_same_fold_and_seed_made(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    plain, tuned, taught = (jobs[name, (3, 1)] for name in ("plain", "tuned", "taught"))
    assert tuned.needs == taught.needs == (plain,)
    assert tuned.recipe.finetune is not None
    assert tuned.recipe.finetune.weights == plain.weights
    assert taught.recipe.distill is not None
    assert (taught.recipe.distill.teacher, taught.recipe.distill.kind) == (plain.weights, "soft")
    assert (tuned.recipe.model.res, tuned.recipe.data) == (32, plain.recipe.data)


def test_chosen_arms_bring_what_they_need_and_are_compared_with(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(TEXT)
    loaded = load_study(str(path))
    jobs = make_jobs(loaded, RUNS)
    assert {arm for arm, _ in choose(loaded, jobs, ["tuned"])} == {"plain", "tuned"}
    assert choose(loaded, jobs, []) == jobs
    with pytest.raises(RecipeError, match="has no arm 'tund'"):
        choose(loaded, jobs, ["tund"])


def test_a_change_that_does_not_fit_names_the_arm_and_its_line(tmp_path: Path) -> None:
    text = TEXT.replace("model.depth=2", "model.dept=2").replace("distill.kind=soft", "distill.kind=mild")
    with pytest.raises(RecipeError) as caught:
        jobs_of(tmp_path, text)
    assert "two.yaml:11  arms.1  arm 'same'" in str(caught.value)
    assert "did you mean 'depth'?" in str(caught.value)
    assert "two.yaml:13  arms.3  arm 'taught'" in str(caught.value)


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_is_of_five_folds_and_three_seeds(name: str) -> None:
    loaded = load_study(name)
    assert (loaded.study.folds, loaded.study.seeds) == ((0, 1, 2, 3, 4), (0, 1, 2))
    assert any(arm.expected for arm in loaded.study.arms)
    few = load_study(name, ["folds=[4]", "seeds=[2]"])
    assert len(make_jobs(few, RUNS)) == len(loaded.study.arms)


@pytest.mark.parametrize("name", ["positions", "regularizers"])
def test_a_study_without_a_model_of_its_own_takes_another_recipe(name: str) -> None:
    loaded = load_study(name, ["base=cifar10_vit", "folds=[0]", "seeds=[0]"])
    assert all(job.recipe.model.res == 32 for job in make_jobs(loaded, RUNS).values())
