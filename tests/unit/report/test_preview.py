"""The picture of a preview."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_cli.inspect.style import BLUE, ORANGE
from vit_cli.metrics.tasks import make_task
from vit_cli.report.pictures import channels
from vit_cli.report.preview import GAP, HEAD, LINE, MARGIN, draw_preview, weigh
from vit_cli.section import Scale, TaskName
from vit_cli.train.preview import Preview

NAMES = ("cat", "a very long name of a class that does not fit", "猫 $5$")
SIDE = 144
"""An image of 16 pixels is drawn so large."""


def make(task: TaskName = "classification", rows: int = 2, epochs: int = 3, mixed: int = 8) -> Preview:
    """Images that are all of one colour, another for each epoch."""
    scale = Scale(mean=(0.0,) * 3, std=(1.0,) * 3) if task == "regression" else None
    versions = torch.zeros(epochs, rows, 3, 16, 16, dtype=torch.uint8)
    versions += (50 * (1 + torch.arange(epochs)))[:, None, None, None, None].to(torch.uint8)
    originals = [torch.full((3, 16, 8), 10, dtype=torch.uint8), *["damaged: cut off before its end"] * (rows - 1)]
    labels = np.zeros(rows, dtype=np.int64) if task == "classification" else np.ones((rows, 3))
    targets = np.array([[0.75, 0.25, 0.0]] * mixed, dtype=np.float32).reshape(-1, 3)
    images = torch.full((mixed, 3, 16, 16), 200, dtype=torch.uint8)
    return Preview(
        "six images", "16x16 pixels", make_task(task, NAMES, scale), originals, labels, versions, images, targets
    )


def draw(preview: Preview, folder: Path) -> np.ndarray:
    draw_preview(preview, folder / "grid.png")
    with Image.open(folder / "grid.png") as image:
        return np.asarray(image.convert("RGB"))


def count(picture: np.ndarray, color: list[int]) -> int:
    return int((picture == np.array(color)).all(axis=2).sum())


def test_every_image_and_version_is_there_at_its_size(tmp_path: Path) -> None:
    picture = draw(make(), tmp_path)
    assert count(picture, [10] * 3) == SIDE * SIDE // 2
    for epoch in range(3):
        assert count(picture, [50 * (1 + epoch)] * 3) == 2 * SIDE * SIDE
    assert count(picture, [200] * 3) == 8 * SIDE * SIDE
    top = HEAD + LINE
    assert picture[top, MARGIN].tolist() == [10] * 3
    assert picture[top, MARGIN + SIDE + 2 * GAP].tolist() == [50] * 3


def test_bars_have_the_lengths_of_the_weights(tmp_path: Path) -> None:
    picture = draw(make(), tmp_path)
    row = next(row for row in picture if (row == channels(BLUE)).all(axis=1).sum() > SIDE)
    blue, orange = ((row == channels(color)).all(axis=1).sum() for color in (BLUE, ORANGE))
    assert (blue, orange) == (4 * SIDE * 0.75, 4 * SIDE * 0.25)


def test_without_mixing_the_picture_ends_above_it(tmp_path: Path) -> None:
    whole, short = draw(make(), tmp_path), draw(make(mixed=0), tmp_path)
    assert short.shape[1] == whole.shape[1]
    assert short.shape[0] < whole.shape[0] - 2 * SIDE
    assert count(short, channels(ORANGE)) == 0


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_labels_that_are_no_whole_have_no_bar(tmp_path: Path, task: TaskName) -> None:
    picture = draw(make(task), tmp_path)
    assert count(picture, channels(ORANGE)) == 0
    assert count(picture, [200] * 3) == 8 * SIDE * SIDE


def test_weights_come_in_order_without_the_smallest() -> None:
    assert weigh([0.2, 0.001, 0.799], NAMES) == [(0.799, NAMES[2]), (0.2, "cat")]
