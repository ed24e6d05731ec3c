"""Which images a probe learns from and tests on, and what it leaves out where they are too few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.data.pictures import write_folder
from vit_cli.checkpoint.model import Saved
from vit_cli.data.digits import Digits
from vit_cli.data.open import open_splits
from vit_cli.data.samples import Samples
from vit_cli.data.split import Parting
from vit_cli.errors import DataError, UsageError
from vit_cli.evaluate.fewshot import draw_shots, fit_ridge
from vit_cli.evaluate.probe import LeftOut, Protocol, Score, Side, judge, open_own_sides, open_sides

CPU = torch.device("cpu")
NAMES = ("ant", "bee", "cow")
DIGITS = {"train": {"name": "digits"}, "val": None, "hold_out": 0.3}


def make_side(*counts: int) -> Side:
    """Features of so many images of each class, which lie around the corners of a cube."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(sum(counts)).normal(scale=0.8, size=(len(labels), 3))
    return Side((np.eye(3)[labels] + noise).astype(np.float32), labels)


def run(train: Side, protocol: Protocol, shots: tuple[int, ...] = (1, 5)) -> list[Score | LeftOut]:
    return list(judge(train, make_side(9, 9, 9), protocol, NAMES, shots, 2, CPU))


def saved(**about: Any) -> Saved:
    return Saved(Path("model"), {}, {"class_names": [str(digit) for digit in range(10)], **about})


def keys(samples: Samples) -> list[str]:
    return [samples.key(row) for row in range(len(samples))]


def test_the_score_of_shots_is_the_mean_of_its_seeds() -> None:
    train, test = make_side(9, 8, 7), make_side(9, 9, 9)
    for shots, score in zip((1, 5), run(train, "fewshot"), strict=True):
        assert isinstance(score, Score)
        expected = []
        for seed in (0, 1):
            rows = draw_shots(train.labels, shots, seed)
            predicted = fit_ridge(train.features[rows], train.labels[rows], 3).predict(test.features)
            expected.append(100 * float(np.mean(predicted == test.labels)))
        assert (score.setting, score.per_seed) == (shots, tuple(expected))
        assert score.top1 == pytest.approx(sum(expected) / 2)


def test_shots_that_a_class_lacks_are_left_out_and_the_class_is_named() -> None:
    one, five = run(make_side(9, 4, 7), "fewshot")
    assert isinstance(one, Score)
    assert five == LeftOut("fewshot", 5, "the class bee has 4 to learn from")


def test_a_class_without_images_to_learn_from_stops_no_other() -> None:
    assert all(isinstance(result, Score) for result in run(make_side(9, 5, 0), "fewshot"))


def test_more_neighbours_than_images_are_left_out() -> None:
    kinds = [type(result) for result in run(make_side(30, 40, 40), "knn")]
    assert kinds == [Score, Score, Score, LeftOut]
    assert {type(result) for result in run(make_side(3, 3, 3), "knn")} == {LeftOut}


def test_a_linear_probe_of_single_images_is_left_out() -> None:
    assert isinstance(run(make_side(5, 5, 5), "linear")[0], Score)
    assert run(make_side(1, 1, 1), "linear")[0] == LeftOut(
        "linear", None, "no class has two images, so there is nothing to choose the penalty on"
    )


def test_own_images_are_those_that_the_model_was_trained_and_judged_on() -> None:
    trained = open_splits(Digits(), None, Parting(0.3))
    assert trained.held is not None
    held = dict(list(trained.held.thresholds.items())[:5])
    splits = open_own_sides(saved(data=DIGITS, held=held | {"7": 0}))
    assert (splits.val.labels == 7).sum() == 0
    assert set(keys(splits.train)).isdisjoint(keys(splits.val))
    whole = open_own_sides(saved(data=DIGITS, held=dict(trained.held.thresholds)))
    assert (keys(whole.train), keys(whole.val)) == (keys(trained.train), keys(trained.val))


def test_a_model_without_data_or_classes_of_its_own_says_what_to_name() -> None:
    with pytest.raises(UsageError, match="does not say what data") as told:
        open_own_sides(saved())
    assert "--data" in told.value.hint
    with pytest.raises(UsageError, match="trained for multilabel, and a probe tells classes"):
        open_own_sides(saved(data=DIGITS, task="multilabel", class_names=["even"]))


def test_other_data_may_have_other_classes_and_is_parted_as_in_training(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"ant": 10, "bee": 5})
    splits = open_sides(tmp_path / "photos", None, saved())
    assert splits.classes == ("ant", "bee")
    assert np.bincount(splits.val.labels).tolist() == [2, 1]
    assert keys(splits.val) == keys(open_sides(tmp_path / "photos", None, saved()).val)


def test_a_split_names_other_images_to_test_on(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 3), ("extra", 2)):
        write_folder(tmp_path / split, {"ant": count, "bee": count})
    assert [len(open_sides(tmp_path, split, saved()).val) for split in (None, "val", "extra")] == [6, 6, 4]
    assert len(open_sides(tmp_path, "extra", saved()).train) == 8
    with pytest.raises(UsageError, match="expected one name"):
        open_sides(tmp_path, "../val", saved())
    with pytest.raises(DataError, match="gone"):
        open_sides(tmp_path, "gone", saved())
    write_folder(tmp_path / "strange", {"cow": 1, "bee": 1})
    with pytest.raises(DataError, match="cow that training does not know"):
        open_sides(tmp_path, "strange", saved())
