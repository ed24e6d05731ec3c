"""The runs of a study: each arm's recipe on each fold with each seed, and equal ones once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from vit_cli.errors import RecipeError, VitError
from vit_cli.recipe.difference import may_change
from vit_cli.recipe.load import load_finetune, load_recipe
from vit_cli.recipe.problems import Problem, refuse
from vit_cli.recipe.schema import Recipe
from vit_cli.recipe.yaml_reader import read_tree
from vit_cli.study.effect import Cell
from vit_cli.study.schema import Arm, LoadedStudy

INHERITED = ("task", "model", "data", "augment", "loss")
"""What a fine-tuned arm has from the one it starts from, unless its recipe says otherwise."""
DIGEST = 16


@dataclass(frozen=True)
class Job:
    """One run: its recipe, and a digest of all of it that changes the result. `needs` are the jobs whose weights it takes."""

    digest: str
    recipe: Recipe
    needs: tuple[Job, ...]
    folder: Path

    @property
    def weights(self) -> Path:
        """Where its weights are when it is done."""
        return self.folder / "model"


Grid = dict[tuple[str, Cell], Job]
"""The job of every arm on every fold with every seed; several may be the same one."""


def make_jobs(loaded: LoadedStudy, runs: Path) -> Grid:
    """Work out the runs of a study, in folders below `runs`, seed by seed: after the first, every arm has a run on every fold.

    Raises RecipeError, naming the arm, for changes that do not make a valid recipe.
    """
    study = loaded.study
    jobs: Grid = {}
    problems: dict[int, str] = {}
    for seed, fold, (number, arm) in product(study.seeds, study.folds, enumerate(study.arms)):
        if number in problems:
            continue
        try:
            jobs[arm.name, (fold, seed)] = make_job(loaded, arm, (fold, seed), jobs, runs)
        except VitError as error:
            problems[number] = f"arm '{arm.name}': {on_one_line(error)}"
        except KeyError:
            problems[number] = f"arm '{arm.name}': the arm that it needs has a problem"
    if problems:
        tree = read_tree(loaded.path)
        found = [Problem(("arms", number), text) for number, text in problems.items()]
        raise refuse(tree.name, [(tree.place(problem.path), problem) for problem in found])
    return jobs


def on_one_line(error: VitError) -> str:
    """Write an error, of several problems perhaps, on one line."""
    lines = [" ".join(line.split()) for line in error.problem.split("\n")]
    return "; ".join(lines[1:] or lines)


def choose(loaded: LoadedStudy, jobs: Grid, arms: Sequence[str]) -> Grid:
    """Give the jobs of some arms, and of those that they need or are compared with; all if none is named.

    Raises RecipeError for a name that is no arm's.
    """
    study = loaded.study
    names = [arm.name for arm in study.arms]
    unknown = [name for name in arms if name not in names]
    if unknown:
        raise RecipeError(
            f"{loaded.name} has no arm '{unknown[0]}'", f"Its arms are {', '.join(names)}; --arms takes some of them."
        )
    wanted = set(arms or names)
    wanted |= {other for name in wanted if (other := study.reference_of(study.arm(name)))}
    for arm in reversed(study.arms):
        if arm.name in wanted:
            wanted |= {other for other in (arm.start, arm.teacher) if other}
    return {place: job for place, job in jobs.items() if place[0] in wanted}


def make_job(loaded: LoadedStudy, arm: Arm, cell: Cell, jobs: Grid, runs: Path) -> Job:
    """Work out one run; what it needs is among `jobs` already."""
    study, (fold, seed) = loaded.study, cell
    start, teacher = (jobs[name, cell] if name else None for name in (arm.start, arm.teacher))
    taught = [f"distill.teacher={json.dumps(str(teacher.weights))}"] if teacher else []
    if start is None:
        changes = [*study.changes, *taught, *arm.changes, f"data.fold={fold}", f"seed={seed}"]
        recipe = load_recipe(find_base(loaded, arm.base or study.base), changes).recipe
    else:
        plain = start.recipe.model_dump(mode="json")
        base = {key: plain[key] for key in INHERITED}
        changes = [*taught, *arm.changes, f"seed={seed}"]
        recipe = load_finetune(find_base(loaded, arm.base or "finetune"), changes, base, start.weights).recipe
    digest = make_digest(recipe, start, teacher)
    needs = tuple(job for job in (start, teacher) if job is not None)
    return Job(digest, recipe, needs, runs / digest)


def find_base(loaded: LoadedStudy, name: str) -> str | Path:
    """Find a recipe that a study names: a path counts from the study's folder, if it is there."""
    beside = loaded.path.parent / name
    return beside if beside.is_file() else name


def make_digest(recipe: Recipe, start: Job | None, teacher: Job | None) -> str:
    """Hash all of a recipe that may change its result; weights of other jobs count by their digests, wherever they lie."""
    plain = recipe.model_dump(mode="json")
    if start:
        plain["finetune"]["weights"] = start.digest
    if teacher:
        plain["distill"]["teacher"] = teacher.digest
    told = dict(flatten(plain))
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:DIGEST]


def flatten(plain: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Give every dotted key that may change a result, with its value; a key without a value counts as absent."""
    for key, value in plain.items():
        dotted = f"{above}{key}"
        if isinstance(value, dict):
            yield from flatten(value, f"{dotted}.")
        elif value is not None and not may_change(dotted):
            yield dotted, value
