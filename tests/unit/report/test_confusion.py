"""The confusion matrix."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_cli.report.confusion import BLUE, MOST, confused_pairs, draw_confusion, most_confused, paint, rgb


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 21, 1000])
def test_any_number_of_classes_gives_a_picture(tmp_path: Path, classes: int) -> None:
    torch.manual_seed(0)
    names = [f"a rather long class name $x$ 猫 {number}" for number in range(classes)]
    draw_confusion(torch.randint(0, 9, (classes, classes)), names, tmp_path / "plots/confusion.png")
    with Image.open(tmp_path / "plots/confusion.png") as image:
        assert 600 < image.width == image.height < 2000


def test_pairs_come_in_order_of_their_counts() -> None:
    torch.manual_seed(0)
    matrix = torch.randperm(25).view(5, 5).double()
    names = list("abcde")
    off_diagonal = [(matrix[i, j].item(), names[i], names[j]) for i in range(5) for j in range(5) if i != j]
    expected = sorted((cell for cell in off_diagonal if cell[0]), reverse=True)[:7]
    pairs = confused_pairs(matrix, names, limit=7)
    assert [(pair.times, pair.true, pair.predicted) for pair in pairs] == expected
    assert [pair.images for pair in pairs] == [matrix[names.index(pair.true)].sum() for pair in pairs]


def test_a_perfect_model_has_no_pairs() -> None:
    assert confused_pairs(torch.eye(4), list("abcd"), limit=5) == []


def test_of_many_classes_the_most_confused_are_chosen() -> None:
    counts = 10 * np.eye(100)
    counts[70, 80], counts[7, 99] = 5, 3
    chosen = most_confused(counts, MOST)
    assert len(chosen) == MOST
    assert chosen == sorted(chosen)
    assert {70, 80, 7, 99} <= set(chosen)
    assert most_confused(counts, 2) == [70, 80]


def test_right_is_blue_and_wrong_is_red_and_nothing_is_white() -> None:
    colors = paint(np.array([[1.0, 0.0, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(colors[0, 0], 1 - 0.85 * (1 - rgb(BLUE)))
    np.testing.assert_array_equal(colors[0, 1], 1)
    np.testing.assert_array_equal(colors[2, 2], 1)
    assert colors[1, 2, 0] > colors[1, 2, 2]
