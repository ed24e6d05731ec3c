"""Holding out: exact counts, and nothing ever changes sides."""

from __future__ import annotations

import json

import numpy as np

from vit_cli.data.samples import Files, PackedNames, Samples
from vit_cli.data.split import HeldOut, hold_out, leave_out


def listed(counts: dict[str, int], skip: int = 0) -> Samples:
    names = [f"{name}/{i}.png".encode() for name, count in counts.items() for i in range(skip, count)]
    labels = np.repeat(np.arange(len(counts)), [max(0, count - skip) for count in counts.values()])
    return Files("/data", PackedNames(names), labels, list(counts))


def keys(samples: Samples) -> set[str]:
    return {samples.key(index) for index in range(len(samples))}


def test_the_share_of_every_class_is_held_out_exactly() -> None:
    samples = listed({"a": 100, "b": 33, "c": 2, "d": 1, "e": 3})
    train, val = hold_out(samples, 0.2).split(samples)
    assert np.bincount(val.labels, minlength=5).tolist() == [20, 7, 1, 0, 1]
    assert np.bincount(train.labels, minlength=5).tolist() == [80, 26, 1, 1, 2]
    assert keys(train) | keys(val) == keys(samples)
    assert not keys(train) & keys(val)


def test_a_share_of_one_leaves_an_image_of_every_class() -> None:
    samples = listed({"a": 10, "b": 2})
    assert hold_out(samples, 1.0).split(samples)[0].labels.tolist() == [0, 1]


def test_no_image_changes_sides_when_others_come_or_go() -> None:
    before, after = listed({"a": 50, "b": 50}), listed({"a": 80, "b": 70}, skip=20)
    held = hold_out(before, 0.3)
    (train, val), (train_after, val_after) = held.split(before), held.split(after)
    assert not keys(val) & keys(train_after)
    assert not keys(train) & keys(val_after)


def test_the_split_survives_json() -> None:
    samples = listed({"a": 50, "b": 50})
    held = hold_out(samples, 0.3)
    again = HeldOut(held.share, json.loads(json.dumps(dict(held.thresholds))))
    assert keys(again.split(samples)[1]) == keys(held.split(samples)[1])


def test_the_split_never_changes_between_versions() -> None:
    samples = listed({"a": 12})
    assert sorted(keys(hold_out(samples, 0.25).split(samples)[1])) == ["a/10.png", "a/4.png", "a/5.png"]


def test_a_class_without_a_threshold_is_trained_on() -> None:
    samples = listed({"a": 10, "new": 10})
    _, val = HeldOut(0.5, {"a": 2**62}).split(samples)
    assert set(val.labels.tolist()) == {0}


def test_known_thresholds_stay_and_new_classes_get_their_own() -> None:
    before, after = listed({"a": 50, "b": 50}), listed({"a": 80, "b": 50, "new": 20})
    held = hold_out(before, 0.2)
    grown = hold_out(after, 0.2, held.thresholds)
    (train, val), (train_after, val_after) = held.split(before), grown.split(after)
    assert not keys(val) & keys(train_after)
    assert not keys(train) & keys(val_after)
    assert np.bincount(val_after.labels)[2] == 4


def test_a_class_that_is_gone_for_a_while_keeps_its_threshold() -> None:
    held = hold_out(listed({"a": 50, "b": 50}), 0.2)
    assert hold_out(listed({"a": 50}), 0.2, held.thresholds).thresholds == held.thresholds


def test_folds_hold_out_every_image_once() -> None:
    samples = listed({"a": 100, "b": 33, "c": 7})
    folds = [keys(hold_out(samples, 0.2, fold=fold).split(samples)[1]) for fold in range(5)]
    assert sorted(key for fold in folds for key in fold) == sorted(keys(samples))
    assert [sum(key.startswith("a/") for key in fold) for fold in folds] == [20] * 5


def test_the_first_fold_is_what_was_held_out_before_there_were_folds() -> None:
    samples = listed({"a": 100, "b": 3, "c": 2})
    assert hold_out(samples, 0.2, fold=0).thresholds == hold_out(samples, 0.2).thresholds
    assert all(isinstance(limit, int) for limit in hold_out(samples, 0.2).thresholds.values())


def test_no_class_is_held_out_whole_by_any_fold() -> None:
    samples = listed({"a": 1, "b": 2, "c": 3})
    for fold in range(5):
        train, _ = hold_out(samples, 0.2, fold=fold).split(samples)
        assert set(train.labels.tolist()) == {0, 1, 2}


def test_a_fold_survives_json() -> None:
    samples = listed({"a": 50, "b": 50})
    held = hold_out(samples, 0.2, fold=3)
    again = HeldOut(held.share, json.loads(json.dumps(dict(held.thresholds))))
    assert keys(again.split(samples)[1]) == keys(held.split(samples)[1])


def test_fractions_are_of_every_class_and_lie_in_each_other() -> None:
    samples = listed({"a": 100, "b": 40, "c": 3})
    parts = [leave_out(samples, fraction) for fraction in (0.05, 0.25, 1.0)]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[5, 2, 1], [25, 10, 1], [100, 40, 3]]
    assert keys(parts[0]) < keys(parts[1]) < keys(parts[2])


def test_folds_train_on_other_fractions() -> None:
    samples = listed({"a": 100})
    assert len(keys(leave_out(samples, 0.2, 0)) & keys(leave_out(samples, 0.2, 1))) < 15
