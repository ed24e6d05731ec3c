"""What a report on a data set means: what is wrong with it, what is worth knowing, and what would make it faster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vit_cli.data.cache import BUDGET, free_memory, free_shared_memory
from vit_cli.data.check import HELD, Problem, Report, SplitReport
from vit_cli.data.duplicates import Duplicates
from vit_cli.data.loader import LARGE

MOST_REPEATED = 3
"""So many images that repeat another are named."""
UNEVEN = 10
"""So many times the images of the smallest class in the largest are worth a note."""
PACKED_SIDE, WORTHWHILE = 384, 0.5
"""The short side that large pictures are best packed with, and the share of their pixels below which that is worth it."""


def judge(report: Report) -> Report:
    """Give the report with its problems, notes and advice."""
    train, *others = report.splits
    problems = [*find_broken(report), *find_few(report)]
    for split in others:
        problems += compare_classes(report, train, split)
    problems += [*find_shared(report), *find_conflicts(report)]
    return replace(report, problems=problems, notes=notes(report), advice=advise(report))


def find_broken(report: Report) -> Iterator[Problem]:
    """Find images that can't be read."""
    for split in report.splits:
        if split.broken:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in split.broken_kinds.items())
            text = f"{split.name}: {plural(split.broken, 'image')} can't be read ({kinds})"
            examples = [f"{bad.path}: {bad.reason}" for bad in split.broken_images]
            yield Problem("unreadable", text, split.broken, examples)


def find_few(report: Report) -> Iterator[Problem]:
    """Find that there is nothing to tell apart, or to validate on."""
    names = filled(report.splits[0])
    if report.task == "classification" and len(names) < 2:
        yield Problem("classes", "there is one class only, and nothing to tell apart", len(names), names)
    if len(report.splits) == 1:
        text = "nothing can be held out to validate on: a class needs two images, or validation a source of its own"
        yield Problem("classes", text, len(names), [])


def compare_classes(report: Report, train: SplitReport, split: SplitReport) -> Iterator[Problem]:
    """Find classes, labels or targets that are in one of two splits alone; what is held out may lack some."""
    if report.task == "regression":
        other = sorted(split.targets.keys() ^ train.targets.keys())
        if other:
            yield Problem("targets", f"train and {split.name} have different targets", len(other), other)
        return
    word, words = ("class", "classes") if report.task == "classification" else ("label", "labels")
    here, there = set(filled(split)), set(filled(train))
    for names, has, lacks in ((here - there, split.name, "train"), (there - here, "train", split.name)):
        if names and lacks != HELD:
            text = f"{has} has {len(names):,} {word if len(names) == 1 else words} that {lacks} has no image of"
            yield Problem("classes", text, len(names), sorted(names))


def filled(split: SplitReport) -> list[str]:
    """List the classes or labels that have images."""
    return [name for name, count in split.classes.items() if count]


def find_shared(report: Report) -> Iterator[Problem]:
    """Find pictures that training and validation share."""
    same = report.duplicates
    if same.shared:
        images = plural(same.shared, f"{report.splits[1].name} image")
        what = f"{images} {'is' if same.shared == 1 else 'are'} in train too"
        examples = [f"{pair.second} is {pair.first}" for pair in same.shared_pairs]
        yield Problem("shared", f"{what}: validation will look too good", same.shared, examples)


def find_conflicts(report: Report) -> Iterator[Problem]:
    """Find pictures with labels that contradict each other."""
    same = report.duplicates
    if same.conflicting:
        other = (
            "another label than an equal picture has"
            if same.conflicting == 1
            else "other labels than equal pictures have"
        )
        text = f"{plural(same.conflicting, 'image')} {'has' if same.conflicting == 1 else 'have'} {other}"
        pairs = same.conflicting_pairs
        examples = [f"{p.second} ({p.second_label or 'none'}) is {p.first} ({p.first_label or 'none'})" for p in pairs]
        yield Problem("conflicting", text, same.conflicting, examples)


def notes(report: Report) -> list[str]:
    """Say what is worth knowing, but may be meant so."""
    told = []
    for split in report.splits:
        if split.looked_at < split.images:
            told.append(
                f"{split.name}: {split.looked_at:,} of {split.images:,} images were looked at, "
                "so most repeated ones are not found"
            )
        told += note_repeated(report.duplicates, split.name)
    train = report.splits[0]
    counts = {name: count for name, count in train.classes.items() if count}
    if report.task == "classification" and counts:
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] >= UNEVEN * counts[least]:
            told.append(
                f"train is uneven: {counts[most]:,} images of {most}, {counts[least]:,} of {least}; "
                "loss.class_weights=auto evens them out"
            )
    return told


def note_repeated(same: Duplicates, split: str) -> list[str]:
    """Name images that repeat an earlier one of a split, a line each, but those that a problem names."""
    known = {(pair.second_split, pair.second) for pair in (*same.shared_pairs, *same.conflicting_pairs)}
    pairs = [pair for pair in same.repeated_pairs if pair.second_split == split]
    others = [f"{pair.second} is {pair.first}" for pair in pairs if (split, pair.second) not in known]
    count = same.repeated.get(split, 0) - len(pairs) + len(others)
    if not count:
        return []
    lines = [f"{split}: {plural(count, 'image')} {'repeats' if count == 1 else 'repeat'} an earlier one of the split"]
    lines += others[:MOST_REPEATED]
    if count > MOST_REPEATED:
        lines.append(f"and {count - len(lines) + 1:,} more (--json names more)")
    return ["\n  ".join(lines)]


def advise(report: Report) -> list[str]:
    """Say what would make reading faster: a pack of smaller pictures, or a cache."""
    sizes = next((split.sizes for split in report.splits if split.sizes), None)
    is_encoded = any(not kind.endswith(" pixels") for split in report.splits for kind in split.formats)
    if sizes is None or not is_encoded:
        return []
    side, free, told = sizes.short_side_median, min(free_memory(), free_shared_memory()), []
    if sizes.mean_pixels < LARGE and report.decoded_bytes <= min(BUDGET, free // 4):
        return [f"decoded, all pictures take {size(report.decoded_bytes)}: training keeps them in memory by itself"]
    kept = min(1.0, PACKED_SIDE / side) ** 2
    if kept < WORTHWHILE:
        told.append(
            f"the pictures are large: vit data pack SRC DEST --short-side {PACKED_SIDE} leaves about {kept:.0%} of their "
            "pixels to decode, enough for a resolution of 224"
        )
    for needed, change in (
        (report.decoded_bytes, "data.cache=ram"),
        (int(kept * report.decoded_bytes), f"data.cache=ram data.cache_size={PACKED_SIDE}"),
    ):
        if needed <= free // 2 and (sizes.mean_pixels < LARGE or "size" in change):
            told.append(f"decoded, all pictures take {size(needed)}: {change} keeps them in memory")
            break
    return told


def plural(count: int, what: str) -> str:
    """Count things: "1 image", "1,200 images"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Write bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
