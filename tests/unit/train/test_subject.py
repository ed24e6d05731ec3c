"""What `vit bench` makes of a recipe, with nothing of its data there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError, RecipeError
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.plan import make_plan
from vit_cli.train.subject import adapt, draw_labels, find_subject, make_splits, name_classes

FULL = sorted(name for name in shipped_recipes() if not name.startswith("finetune"))
OWN = {"digits": 10, "digits_multilabel": 4, "digits_regression": 1, "smoke": 4}


def world(size: int = 1) -> World:
    return World(0, size, torch.device("cpu"))


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("processes", [1, 4])
def test_every_shipped_recipe_has_a_plan_without_its_data(name: str, processes: int) -> None:
    subject = find_subject(name, ["distill=null"])
    recipe = adapt(subject, world(processes))
    plan = make_plan(recipe, images=recipe.train.batch_size, processes=processes)
    assert plan.lr_at(0) == pytest.approx(recipe.optim.lr)
    assert plan.mix_until_step == plan.total_steps
    names, _ = name_classes(subject)
    splits = make_splits(recipe, names)
    assert len(splits.train) == recipe.train.batch_size
    assert len(names) == OWN.get(name, 10 if name.startswith("digits") else 1000)


@pytest.mark.parametrize(("res", "images"), [(224, 32), (384, 8), (32, 1024)])
def test_a_batch_is_cut_to_what_a_measurement_needs(res: int, images: int) -> None:
    subject = find_subject("imagenet_vit_s16", [f"model.res={res}"])
    assert subject.recipe.train.batch_size == 1024
    assert adapt(subject, world()).train.batch_size == images
    assert adapt(subject, world(2)).train.batch_size == min(2 * images, 1024)
    asked = find_subject("imagenet_vit_s16", [f"model.res={res}", "train.batch_size=512"])
    assert adapt(asked, world()).train.batch_size == 512


def test_another_key_of_the_command_line_does_not_keep_a_large_batch() -> None:
    for name in (None, "imagenet_vit_s16"):
        assert not find_subject(name, ["train.precision=fp32"]).keeps_batch
        assert find_subject(name, ["train.batch_size=48"]).keeps_batch


def test_a_measurement_sees_whole_images() -> None:
    subject = find_subject(
        "imagenet_vit_s16", ["train.phases=[{until: 40%, res: 128}, {until: 60 epochs, drop_tokens: 0.5}]"]
    )
    recipe = adapt(subject, world())
    (phase,) = make_plan(recipe, images=recipe.train.batch_size).phases
    assert (phase.res, phase.drop_tokens) == (224, 0.0)


def test_nothing_named_is_a_tiny_vit_that_changes_apply_to() -> None:
    recipe = find_subject(None, []).recipe
    assert (recipe.model.name, recipe.model.size, recipe.model.patch, recipe.model.res) == ("vit", "tiny", 16, 224)
    assert find_subject(None, ["model.size=base"]).recipe.model.size == "base"
    with pytest.raises(RecipeError, match="did you mean 'size'"):
        find_subject(None, ["model.sise=base"])


def test_a_table_of_targets_tells_how_many_there_are(tmp_path: Path) -> None:
    table = f"data={{train: {{name: table, file: {tmp_path / 'none.csv'}, targets: [width, height]}}}}"
    assert name_classes(find_subject("digits_regression", [table]))[0] == ("width", "height")


def test_a_missing_teacher_is_told_of_before_anything_is_built() -> None:
    with pytest.raises(CheckpointError, match="there is no teacher"):
        name_classes(find_subject("digits_deit", ["distill.teacher=runs/nobody"]))


def test_labels_are_of_the_kind_that_the_task_has() -> None:
    numbers, marks, values = (draw_labels(task, 50, 3) for task in ("classification", "multilabel", "regression"))
    assert (numbers.dtype, set(numbers.tolist())) == (np.int64, {0, 1, 2})
    assert (marks.shape, set(marks.flatten().tolist())) == ((50, 3), {0.0, 1.0})
    assert (values.shape, values.dtype) == ((50, 3), np.float32)
