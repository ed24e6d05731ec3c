"""The same picture more than once: in several splits, twice in one, or under different labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from vit_cli.data.samples import Samples
from vit_cli.data.survey import Survey

NAMED = 100
"""So many pairs of each kind are named; all are counted."""
Member = tuple[int, int]
"""A split's number, and the place of an image in it."""


@dataclass(frozen=True)
class Pair:
    """Two images of the same pixels, each with its split and labels."""

    first: str
    first_split: str
    first_label: str
    second: str
    second_split: str
    second_label: str


@dataclass
class Duplicates:
    """Images whose pixels are equal: however they are stored, but not if one was resized or encoded anew.

    `shared` counts the images of the later splits that the first has too, `repeated` those of each split that repeat an
    earlier one of it, `conflicting` the images that have not the label of an equal one before them, in any split.
    """

    shared: int = 0
    repeated: dict[str, int] = field(default_factory=dict)
    conflicting: int = 0
    shared_pairs: list[Pair] = field(default_factory=list)
    repeated_pairs: list[Pair] = field(default_factory=list)
    conflicting_pairs: list[Pair] = field(default_factory=list)


def find_duplicates(surveys: Sequence[Survey]) -> Duplicates:
    """Compare all images that were looked at with each other; memory: 40 bytes an image."""
    found = Duplicates()
    for members in groups(surveys):
        labels = [say_label(surveys[split].samples, place) for split, place in members]
        first = {members[0][0]: 0}  # of each split
        for number, (split, _) in enumerate(members[1:], 1):
            before = first.setdefault(split, number)
            if before < number:
                name = surveys[split].name
                found.repeated[name] = found.repeated.get(name, 0) + 1
                keep(found.repeated_pairs, surveys, members, labels, (before, number))
            if split > 0 and members[0][0] == 0:
                found.shared += 1
                keep(found.shared_pairs, surveys, members, labels, (0, number))
            if labels[number] != labels[0]:
                found.conflicting += 1
                keep(found.conflicting_pairs, surveys, members, labels, (0, number))
    return found


def groups(surveys: Sequence[Survey]) -> Iterator[list[Member]]:
    """Give the images of equal pixels, where there are several, in order of split and place."""
    hashes = np.concatenate([survey.hashes[survey.is_read] for survey in surveys])
    places = np.concatenate([survey.places[survey.is_read] for survey in surveys])
    counts = [np.count_nonzero(survey.is_read) for survey in surveys]
    splits = np.repeat(np.arange(len(surveys), dtype=np.int8), counts)
    order = np.argsort(hashes, kind="stable")
    if not len(order):
        return
    ordered = hashes[order]
    same = ordered[1:] == ordered[:-1]
    chosen = order[np.append(same, False) | np.insert(same, 0, False)]
    rows = zip(hashes[chosen].tolist(), splits[chosen].tolist(), places[chosen].tolist(), strict=True)
    for _, members in groupby(rows, key=lambda row: row[0]):
        yield [(split, place) for _, split, place in members]


def keep(
    pairs: list[Pair], surveys: Sequence[Survey], members: list[Member], labels: list[str], two: tuple[int, int]
) -> None:
    """Add two members to `pairs` by name, if there is room."""
    if len(pairs) < NAMED:
        ends = [(surveys[split], place) for split, place in (members[number] for number in two)]
        (first, at), (second, then) = ends
        pairs.append(
            Pair(
                first.samples.name(at),
                first.name,
                labels[two[0]],
                second.samples.name(then),
                second.name,
                labels[two[1]],
            )
        )


def say_label(samples: Samples, place: int) -> str:
    """Write the label of an image: its class, or its labels or numbers by name, whatever order the columns are in."""
    label = samples.labels[place]
    if samples.labels.ndim == 1:
        return samples.classes[int(label)]
    if samples.labels.dtype == np.float32:  # marks
        return ", ".join(sorted(name for name, mark in zip(samples.classes, label.tolist(), strict=True) if mark))
    return ", ".join(f"{name}={value:g}" for name, value in sorted(zip(samples.classes, label.tolist(), strict=True)))
