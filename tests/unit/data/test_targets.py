"""Labels of every task: from any source, matched by name, standardised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.pictures import look_with, write_folder
from vit_cli.data.digits import Digits
from vit_cli.data.fingerprint import differences, fingerprint
from vit_cli.data.folder import Folder
from vit_cli.data.loader import EvalBatches
from vit_cli.data.open import open_evaluation, open_splits
from vit_cli.data.samples import Pixels, View, count_images
from vit_cli.data.split import EVERY, Parting, hold_out
from vit_cli.data.summary import describe
from vit_cli.data.targets import fit_scale, match, open_source
from vit_cli.errors import DataError


def test_digits_have_traits_and_values() -> None:
    digits = Digits().open()
    traits = Digits().open("multilabel")
    numbers = Digits().open("regression").labels[:, 0]
    assert numbers.tolist() == digits.labels.tolist()
    even, prime, square, loop = traits.labels.T.astype(bool)
    assert set(numbers[even]) == {0, 2, 4, 6, 8}
    assert set(numbers[prime]) == {2, 3, 5, 7}
    assert set(numbers[square]) == {0, 1, 4, 9}
    assert set(numbers[loop]) == {0, 6, 8, 9}


def test_class_folders_are_marks_and_their_names_may_be_numbers(tmp_path: Path) -> None:
    ages = Folder(root=write_folder(tmp_path / "ages", {"7": 1, "31.5": 2}))
    assert open_source(ages, "regression").labels.tolist() == [[31.5], [31.5], [7]]
    marks = open_source(ages, "multilabel")
    assert marks.labels.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert count_images(marks) == [2, 1]
    pets = Folder(root=write_folder(tmp_path / "pets", {"cat": 1, "dog": 1}))
    with pytest.raises(DataError, match="'cat' is no number, and regression learns numbers"):
        open_source(pets, "regression")


def test_the_scale_is_that_of_the_training_images_alone() -> None:
    splits = open_splits(Digits(), None, Parting(0.2), task="regression")
    assert splits.scale is not None
    assert splits.train.labels.dtype == np.float32
    assert splits.train.labels.mean() == pytest.approx(0, abs=1e-6)
    assert splits.train.labels.std() == pytest.approx(1, abs=1e-6)
    values = Digits().open("regression").labels[:, 0]
    rows = [int(splits.train.key(i)) for i in range(len(splits.train))]
    assert splits.scale.mean[0] == pytest.approx(values[rows].mean())
    judged = open_evaluation(Digits(), splits.classes, "regression", splits.scale)
    np.testing.assert_allclose(judged.labels[:, 0] * splits.scale.std[0] + splits.scale.mean[0], values, atol=1e-6)
    assert describe(splits) == "1,438 train + 359 held-out images, 1 target, digits (scikit-learn)"


def test_without_classes_images_are_held_out_by_their_names_alone() -> None:
    samples = Digits().open("multilabel")
    held = hold_out(samples, 0.25)
    train, val = held.split(samples)
    assert (len(train), len(val)) == (1348, 449)
    assert set(held.thresholds) == {EVERY}
    again = held.split(Digits().open("regression"))[1]
    assert [again.key(i) for i in range(449)] == [val.key(i) for i in range(449)]


def test_a_target_that_never_changes_can_not_be_learned(tmp_path: Path) -> None:
    source = Folder(root=write_folder(tmp_path, {"7": 4}))
    with pytest.raises(DataError, match="same 1 target: value"):
        open_splits(source, None, Parting(0.5), task="regression")


@pytest.mark.parametrize(
    ("values", "problem"),
    [([0.7] * 1000, "same 1 target: t"), ([5e-324, 0], "same 1 target: t"), ([1e200, -1e200], "too large .* t$")],
)
def test_a_target_whose_deviation_is_rounding_or_no_number_is_refused(values: list[float], problem: str) -> None:
    """The deviation of a thousand times 0.7 is 1e-16."""
    pixels = np.zeros((len(values), 2, 2), np.uint8)
    with pytest.raises(DataError, match=problem):
        fit_scale(Pixels("dots", pixels, np.array(values)[:, None], ["t"]))


def test_labels_are_matched_by_name() -> None:
    traits = Digits().open("multilabel")
    swapped = match(traits, ["prime", "blue", "loop", "square", "even"], "val", "multilabel")
    np.testing.assert_array_equal(swapped.labels[:, [4, 0, 3, 2]], traits.labels)
    assert not swapped.labels[:, 1].any(), "a label that no image has"
    with pytest.raises(DataError, match="val has 1 label: loop that training does not know"):
        match(traits, ["even", "prime", "square"], "val", "multilabel")
    values = Digits().open("regression")
    for names, problem in (
        (["digit", "x"], "val lacks 1 target: x"),
        (["x"], "1 target: digit that training does not"),
    ):
        with pytest.raises(DataError, match=problem):
            match(values, names, "val", "regression")


def test_batches_hold_a_row_of_labels_for_each_image() -> None:
    splits = open_splits(Digits(), None, Parting(0.2), task="multilabel")
    batches = list(EvalBatches(splits.val, look_with(lambda image: image), batch_size=100))
    assert [tuple(batch.labels.shape) for batch in batches] == [(100, 4)] * 3 + [(59, 4)]


def test_another_label_is_another_data_set() -> None:
    traits = Digits().open("multilabel")
    labels = traits.labels.copy()
    labels[5, 2] = 1 - labels[5, 2]
    before, now = fingerprint(traits), fingerprint(View(traits, np.arange(len(traits)), labels, traits.classes))
    assert differences(before, before) == []
    assert differences(before, now) == ["images and labels: 1797 images, but other ones or in another order"]
