"""Grids of pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_cli.report.pictures import FRAME, GAP, TITLE, draw_grid, fit


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_small_images_are_enlarged_without_blur(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    draw_grid(image, ["a"], tmp_path / "grid.png", title="one")
    drawn = load(tmp_path / "grid.png")[TITLE + FRAME :, GAP + FRAME :][: 8 * 18, : 8 * 18]
    blocks = drawn.reshape(8, 18, 8, 18, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert (blocks[:, 0, :, 0] == image[0].permute(1, 2, 0).numpy()).all()


@pytest.mark.parametrize(("size", "drawn"), [((32, 32), (128, 128)), ((224, 224), (160, 160)), ((100, 400), (40, 160))])
def test_images_are_fitted_with_their_shape_kept(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert fit(np.zeros((*size, 3), dtype=np.uint8)).shape == (*drawn, 3)


def test_right_is_framed_in_green_and_wrong_in_red(tmp_path: Path) -> None:
    images = torch.zeros(3, 3, 28, 20, dtype=torch.uint8)
    draw_grid(images, ["✓ $a$", "✗ b\nis c", "猫"], tmp_path / "grid.png", columns=2, marks=[True, False, True])
    drawn = load(tmp_path / "grid.png")
    first, second = drawn[GAP + 1, GAP + 1], drawn[GAP + 1, 2 * GAP + 2 * FRAME + 100 + 1]
    assert first.argmax() == 1
    assert second.argmax() == 0


def test_a_short_row_makes_a_narrow_picture(tmp_path: Path) -> None:
    draw_grid(torch.zeros(2, 3, 144, 144, dtype=torch.uint8), ["a", "b"], tmp_path / "grid.png", columns=8)
    assert load(tmp_path / "grid.png").shape[1] == GAP + 2 * (144 + 2 * FRAME + GAP)
