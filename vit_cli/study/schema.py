"""The schema of a study's file: its arms, and what is compared."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, ValidationError

from vit_cli.errors import RecipeError
from vit_cli.recipe.changes import apply_changes
from vit_cli.recipe.explain import explain
from vit_cli.recipe.find import recipes_folder
from vit_cli.recipe.problems import Problem, refuse
from vit_cli.recipe.yaml_reader import Tree, read_tree
from vit_cli.section import Section

Name = Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=60)]
FLOPS: Final = "flops"


class Arm(Section):
    """One side of a comparison: a recipe with changes, trained on every fold with every seed."""

    name: Name = Field(description="one word; --arms chooses arms by it")
    title: str | None = Field(None, description="its name in the table; the name if left out")
    base: str | None = Field(
        None, description="a recipe by name or path; the study's, or finetune with start, if left out"
    )
    changes: tuple[str, ...] = Field((), description="key=value, as on the command line")
    start: str | None = Field(None, description="the arm before it from whose weights it is fine-tuned")
    teacher: str | None = Field(None, description="the arm before it that it is distilled from")
    against: str | None = Field(
        None, description="the arm it is compared with, its own name for none; the study's reference if left out"
    )
    expected: Literal["better", "worse", "same"] | None = Field(None, description="what the claim says of it")
    published: str | None = Field(None, description="the difference that was published, as text")
    series: str | None = Field(None, description="the line of the plot that it belongs to")
    at: PositiveFloat | None = Field(None, description="its place on the plot's axis")
    shown: bool = Field(True, description="false: it is trained for other arms only")

    @property
    def label(self) -> str:
        """Its name in tables and plots."""
        return self.title or self.name


class Study(Section):
    """A claim, and the runs that test it."""

    title: str
    claim: str
    source: str = Field(description="where the claim is made: paper and section")
    published: str = Field(description="what was published, with its conditions")
    note: str | None = Field(None, description="what is different here")
    base: str = Field(description="the recipe of all arms: a shipped name or a path")
    changes: tuple[str, ...] = Field((), description="changes for all arms but those that are fine-tuned")
    arms: tuple[Arm, ...] = Field(min_length=1)
    reference: str = Field(description="the arm that the others are compared with")
    folds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1, description="values of data.fold")
    seeds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1)
    score: Literal["top1", "top5", "loss", "map", "r2"] = Field(
        "top1", description="of the held-out images, at the last step"
    )
    axis: str | None = Field(
        None, description="what the places of arms on the plot are; flops: those of training, measured"
    )

    def arm(self, name: str) -> Arm:
        """Give an arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def reference_of(self, arm: Arm) -> str | None:
        """Name the arm that another is compared with; None for the reference itself."""
        other = arm.against or self.reference
        return None if other == arm.name else other


class LoadedStudy(Section):
    """A valid study, its name, the file it was read from, and the changes of it."""

    name: str
    path: Path
    changes: tuple[str, ...]
    study: Study


def shipped_studies() -> dict[str, Path]:
    """Give the shipped studies by name."""
    return {path.stem: path for path in sorted((recipes_folder() / "studies").glob("*.yaml"))}


def find_study(name_or_path: str) -> Path:
    """Give the path of a shipped study or of a file; RecipeError with the nearest name if there is neither."""
    shipped, path = shipped_studies(), Path(name_or_path).expanduser()
    if name_or_path in shipped:
        return shipped[name_or_path]
    if path.is_dir():
        raise RecipeError(f"{path} is a folder, not a study")
    if path.exists():
        return path
    near = difflib.get_close_matches(path.stem, shipped, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise RecipeError(f"there is no study and no file {name_or_path}", f"{hint}Shipped studies: {', '.join(shipped)}.")


def load_study(name_or_path: str, changes: Iterable[str] = ()) -> LoadedStudy:
    """Load a study by name or path, with `key=value` changes of it. Raises RecipeError with all problems at once."""
    path, changes = find_study(name_or_path), tuple(changes)
    tree = apply_changes(read_tree(path), changes, Study)
    return LoadedStudy(name=path.stem, path=path, changes=changes, study=validate(tree))


def validate(tree: Tree) -> Study:
    """Validate what was read; RecipeError lists all problems with their lines."""
    try:
        study = Study.model_validate_json(json.dumps(tree.values), strict=True)
    except ValidationError as error:
        problems = explain(error, Study, tree.values)
    else:
        problems = [*check_names(study), *check_repeats(study)]
        if not problems:
            return study
    raise refuse(tree.name, [(tree.place(problem.path), problem) for problem in problems])


def check_names(study: Study) -> Iterator[Problem]:
    """Arms have names of their own, and name others that there are."""
    names = [arm.name for arm in study.arms]
    if study.reference not in names:
        yield Problem(("reference",), f"'{study.reference}' is no arm; the arms are {', '.join(names)}")
    for number, arm in enumerate(study.arms):
        if arm.name in names[:number]:
            yield Problem(("arms", number, "name"), f"a second arm is called '{arm.name}'")
        for key in ("start", "teacher"):
            other = getattr(arm, key)
            if other is not None and other not in names[:number]:
                yield Problem(("arms", number, key), f"'{other}' is no arm before '{arm.name}'")
        if arm.against is not None and arm.against not in names:
            yield Problem(("arms", number, "against"), f"'{arm.against}' is no arm; the arms are {', '.join(names)}")
        if arm.at is not None and study.axis in (None, FLOPS):
            yield Problem(("arms", number, "at"), "is a place on an axis, and axis names none")


def check_repeats(study: Study) -> Iterator[Problem]:
    """No fold and no seed counts twice."""
    for key in ("folds", "seeds"):
        numbers = getattr(study, key)
        if len(set(numbers)) < len(numbers):
            yield Problem((key,), "holds a number twice")
