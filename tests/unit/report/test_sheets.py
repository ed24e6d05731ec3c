"""Sheets of images with answers: what is said below each."""

import numpy as np

from vit_cli.evaluate.evaluate import Answers, Evaluation
from vit_cli.metrics.classification import Classification
from vit_cli.metrics.multilabel import Multilabel
from vit_cli.metrics.regression import Regression
from vit_cli.report import sheets
from vit_cli.section import Scale

ABC = Classification("abc")


def test_captions_say_what_is_right_where_the_model_is_wrong(evaluation: Evaluation) -> None:
    answers = evaluation.answers
    assert isinstance(answers, Answers)
    assert sheets.caption(answers, 0, ABC, 19) == "✓ a 75%"
    assert sheets.caption(answers, 7, ABC, 19) == "✗ a 75%\nis b"


def answer_of(labels: list[float], predicted: list[float]) -> Answers:
    none = np.zeros((1, 0), dtype=np.float32)
    return Answers(np.arange(1), np.array([labels]), np.array([predicted]), none, np.zeros(1, dtype=np.float32))


def test_labels_fill_three_lines_and_the_rest_is_counted() -> None:
    task = Multilabel(["red", "round", "furry", "loud", "friendly", "old"])
    caption = sheets.caption(answer_of([1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]), 0, task, 14)
    assert caption.split("\n") == ["✗ red", "is red, round,", "furry, loud,", "friendly, old"]
    caption = sheets.caption(answer_of([1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]), 0, task, 10)
    assert caption.split("\n") == ["✓ red,", "round,", "furry, +3"]


def test_of_several_numbers_the_two_that_are_farthest_off_by_their_spread_are_told() -> None:
    task = Regression(["brightness", "width", "age"], Scale(mean=(0, 0, 0), std=(1000, 1, 10)))
    caption = sheets.caption(answer_of([1200, 3, 20], [466.6, 2, 20]), 0, task, 19)
    assert caption.split("\n") == ["width", "2, is 3", "brightness", "466.6, is 1200", "+1"]
    caption = sheets.caption(answer_of([-0.09325, 3, 20], [-0.0671, 3, 20]), 0, task, 19)
    assert "brightness\n-0.0671,\nis -0.09325" in caption
    one = Regression(["age"], Scale(mean=(0,), std=(1,)))
    assert sheets.caption(answer_of([20], [21.5]), 0, one, 19) == "21.5\nis 20"
