"""The confusion matrix."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_cli.report.confusion import MOST, confused_pairs, draw_confusion, most_confused, strengths


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


def test_the_diagonal_is_as_strong_as_its_share_and_rare_errors_can_be_seen() -> None:
    strength = strengths(np.array([[1.0, 0.0], [0.01, 0.99]]))
    np.testing.assert_allclose(strength, [[0.85, 0.0], [0.09, 0.8415]])


def test_the_picture_and_the_chart_have_blue_for_right_and_red_for_wrong(tmp_path: Path) -> None:
    chart = draw_confusion(torch.tensor([[3.0, 1.0], [0.0, 4.0]]), ["a", "b"], tmp_path / "confusion.png")
    cells = re.findall(r'style="fill: var\(--(blue|red)\); opacity: ([\d.]+)"', chart)
    assert [(color, round(float(share), 4)) for color, share in cells] == [
        ("blue", 0.6375),
        ("red", 0.45),
        ("blue", 0.85),
    ]
    with Image.open(tmp_path / "confusion.png") as image:
        colors = {color for _, color in image.convert("RGB").getcolors(10**6)}
    assert any(b > 200 and r < 100 for r, _, b in colors)
    assert any(r > 220 and b < 160 for r, _, b in colors)
