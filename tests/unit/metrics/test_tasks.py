"""The tasks: what each keeps of an answer, and how it reads."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vit_cli.metrics.names import MAIN, SCORES, WORDS
from vit_cli.metrics.task import Task
from vit_cli.metrics.tasks import make_task
from vit_cli.section import Scale

ABC = ("a", "b", "c")
SCALE = Scale(mean=(10.0, 0.0, 5e6), std=(2.0, 1e-3, 1e5))
TASKS = [make_task(name, ABC, SCALE if name == "regression" else None) for name in MAIN]
LABELS = {
    "classification": torch.tensor([2, 0]),
    "multilabel": torch.tensor([[1.0, 0, 1], [0, 0, 0]]),
    "regression": torch.tensor([[0.5, -1, 2], [0, 0, 0]]),
}


def of(name: str) -> Task:
    return next(task for task in TASKS if task.name == name)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_score_that_is_told_is_known_and_there(task: Task) -> None:
    logits, labels = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), LABELS[task.name]
    sheet = task.sheet()
    sums = sheet.start(torch.device("cpu"))
    sheet.add(sums, logits, labels, task.judge(logits, labels))
    record = task.record(logits, labels)
    assert record.shape == (2, task.columns)
    scores = sheet.finish(sums) | task.rank(record.numpy())
    assert {*task.shown, *task.reported, *task.detailed, "loss"} <= scores.keys() & SCORES.keys()
    assert task.shown[0] == task.main == MAIN[task.name]
    assert task.main_score.is_better_higher
    assert len(task.heads()) == len(task.cells(task.read(record.numpy()), 0))
    assert len(task.per_class(sheet, sums, record.numpy())) == 3
    assert task.name in WORDS


def test_a_zero_head_is_judged_by_what_it_knows_nothing_of() -> None:
    zero = torch.zeros(2, 3)
    assert of("classification").judge(zero, LABELS["classification"]).tolist() == pytest.approx([math.log(3)] * 2)
    assert of("multilabel").judge(zero, LABELS["multilabel"]).tolist() == pytest.approx([3 * math.log(2)] * 2)
    assert of("regression").judge(zero, LABELS["regression"]).tolist() == pytest.approx([5.25 / 3, 0])


def test_the_first_prediction_of_a_zero_head_is_the_mean_of_training() -> None:
    assert of("regression").predict(torch.zeros(1, 3), None, 0.5) == [list(zip(ABC, SCALE.mean, strict=True))]


def test_numbers_come_back_from_float32_as_they_were() -> None:
    true = np.array([[12.25, 0.0005, 5_123_457.0], [9.99, -0.0012, 4_700_000.5]])
    standard = ((true - np.array(SCALE.mean)) / np.array(SCALE.std)).astype(np.float32)
    np.testing.assert_array_equal(of("regression").in_units(standard)[:, :2], true[:, :2])
    np.testing.assert_allclose(of("regression").in_units(standard)[:, 2], true[:, 2], atol=0.5)


def test_labels_are_named_above_a_threshold_best_first_and_all_if_asked() -> None:
    logits = torch.tensor([[0.1, -3.0, 2.0]])
    task = of("multilabel")
    assert [name for name, _ in task.predict(logits, None, 0.5)[0]] == ["c", "a"]
    assert [name for name, _ in task.predict(logits, 1, 0.5)[0]] == ["c"]
    assert [name for name, _ in task.predict(logits, 0, 0.5)[0]] == ["c", "a", "b"]
    assert [p for _, p in task.predict(logits, None, 0.6)[0]] == pytest.approx([1 / (1 + math.exp(-2))])


def test_classes_are_named_best_first_with_shares_of_one() -> None:
    ((first, second, third),) = of("classification").predict(torch.tensor([[1.0, 3.0, 2.0]]), None, 0.5)
    assert (first[0], second[0], third[0]) == ("b", "c", "a")
    assert first[1] + second[1] + third[1] == pytest.approx(1, abs=1e-12)


def test_what_is_true_reads_as_people_say_it() -> None:
    said = [task.say(task.in_units(LABELS[task.name].numpy())[0]) for task in TASKS]
    assert said == ["c", "a, c", "a 11, b -0.001, c 5.2e+06"]
    assert of("multilabel").say(np.zeros(3)) == "nothing"


def test_a_scale_must_fit_the_targets() -> None:
    with pytest.raises(ValueError, match="2 targets"):
        make_task("regression", ("a", "b"), SCALE)
