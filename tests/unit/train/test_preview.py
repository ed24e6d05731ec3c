"""The preview shows what training will see."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.data.pictures import write_folder
from vit_cli.data.order import Order
from vit_cli.dist.world import World
from vit_cli.recipe.load import load_recipe
from vit_cli.recipe.schema import Recipe
from vit_cli.train.folder import RunFolder
from vit_cli.train.preview import FirstImages, make_preview
from vit_cli.train.progress import Silence
from vit_cli.train.wire import wire

READING = ("data.cache=none", "data.workers=0", "data.augment_on=workers", "data.val=null")


def recipe_of(*changes: str) -> Recipe:
    digits = ["data.train={name: digits}", "train.batch_size=16", "model.res=32"]
    return load_recipe("smoke", [*digits, *READING, *changes]).recipe


def test_every_step_shows_the_first_images_as_another_epoch_does() -> None:
    order = Order(images=50, seed=3, batch_size=8, repeats=2)
    first, shown = order.draws(0), FirstImages(**asdict(order), count=5)
    for epoch in range(3):
        draws = shown.draws(epoch)
        assert (draws.indices == first.indices[:5]).all()
        assert (draws.epochs == first.epochs[:5] + 2 * epoch).all()


def test_the_first_version_and_the_mixed_images_are_those_of_the_first_step(tmp_path: Path) -> None:
    recipe = recipe_of("mix.mixup=0.8", "mix.cutmix=1.0")
    preview = make_preview(recipe, images=3, epochs=2)
    run = wire(recipe, RunFolder(tmp_path), World(0, 1, torch.device("cpu")), Silence())
    batch = run.input.finish(run.input.first_batch())
    assert torch.equal(preview.versions[0], batch.images[:3])
    assert preview.labels.tolist() == batch.labels[:3].tolist()
    mixed, targets = run.mixer(run.prepare(batch.images), batch.labels, 0, 0)
    assert torch.equal(torch.from_numpy(preview.targets), targets[:6])
    torch.testing.assert_close(run.prepare(preview.mixed), mixed[:6], atol=1 / 255 + 1e-6, rtol=0)


def test_later_versions_are_those_of_later_epochs() -> None:
    recipe = recipe_of("train.batch_size=1438", "train.epochs=2", "eval.every=1 epoch")  # a step is an epoch
    preview = make_preview(recipe, images=2, epochs=3)
    assert preview.versions.shape == (3, 2, 3, 32, 32)
    assert not torch.equal(preview.versions[0], preview.versions[1])
    assert not torch.equal(preview.versions[1], preview.versions[2])
    again = make_preview(recipe, images=2, epochs=2)
    assert torch.equal(preview.versions[:2], again.versions)


def test_without_mixing_nothing_is_mixed() -> None:
    preview = make_preview(recipe_of(), images=3, epochs=2)
    assert preview.mixed.shape == (0, 3, 32, 32)
    assert preview.facts.startswith("32x32 pixels")
    assert "mix: nothing" in preview.facts


def test_a_preview_is_of_the_first_phase_in_every_epoch() -> None:
    recipe = recipe_of("train.phases=[{until: 1 step, res: 16}]", "model.patch=8", "mix.mixup=0.4")
    preview = make_preview(recipe, images=3, epochs=2)
    assert preview.versions.shape == (2, 3, 3, 16, 16)
    assert preview.mixed.shape[1:] == (3, 16, 16)
    assert preview.facts.startswith("16x16 pixels")


def test_originals_are_whole_and_one_that_can_not_be_read_says_why(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {"cat": 10, "dog": 10})
    for number in range(4):
        (root / "cat" / f"{number}.jpg").write_bytes(b"")
    recipe = recipe_of(f"data.train={{name: folder, root: {root}}}", "data.hold_out=0.1")
    preview = make_preview(recipe, images=16, epochs=1)
    whole = [image for image in preview.originals if not isinstance(image, str)]
    assert {tuple(image.shape) for image in whole} <= {(3, 8, width) for width in (8, 9, 10)}
    assert set(preview.originals) - set(whole) == {"empty file"}
    assert len(preview.versions[0]) == len(preview.originals) == 16


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_tasks_have_labels_in_the_users_units(task: str) -> None:
    changes = {"multilabel": "loss={name: binary_cross_entropy}", "regression": "loss={name: mse}"}
    preview = make_preview(recipe_of(f"task={task}", changes[task], "mix.mixup=0.2"), images=4, epochs=1)
    assert preview.task.name == task
    assert len(preview.targets) == 4
    if task == "regression":
        assert set(np.unique(preview.labels)) <= set(range(10))
