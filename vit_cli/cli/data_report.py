"""How `vit data check` shows what it does and what it found."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

from vit_cli.cli.console import (
    HEARTBEAT_SECONDS,
    REDRAW_SECONDS,
    is_terminal,
    make_bar,
    make_console,
    show_note,
    show_result,
    show_table,
)
from vit_cli.cli.layout import format_facts

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from vit_cli.data.check import Problem, Report, SplitReport

MOST_CLASSES = 20
"""More classes are not all shown: the largest and the smallest."""
MOST_NAMED = 5
"""So many images are named under a problem."""
BAR = 40
"""Signs of the longest bar of a histogram."""


class Counting:
    """Tells on stderr how many images are done: by a bar on a terminal, else by a line at most every 10 s."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.is_live = not quiet and is_terminal(sys.stderr)
        self.begin = self.spoken = time.monotonic()
        self.bar: Bar | None = None

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def told(self, done: int, total: int) -> None:
        """Hear how many of all images are done."""
        now = time.monotonic()
        if self.quiet or now - self.spoken < (REDRAW_SECONDS if self.is_live else HEARTBEAT_SECONDS):
            return
        self.spoken = now
        facts = f"{done:,} of {total:,} images  {done / (now - self.begin):.0f} img/s"
        if not self.is_live:
            show_note(f"{done / total:4.0%}  {facts}")
            return
        if self.bar is None:
            self.bar = make_bar(make_console(), total)
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], completed=done, facts=facts, refresh=True)


def show_report(report: Report) -> None:
    """Show everything on stdout: facts, tables, and last what is wrong and what to do."""
    facts = {split.name: describe_split(split, report.task) for split in report.splits}
    facts["speed"] = f"{report.images_per_second:.0f} img/s read and decoded, whole, by one process on a core"
    show_result(format_facts(facts))
    show_labels(report)
    show_sizes(report)
    problems = [line for problem in report.problems for line in say_problem(problem)]
    notes = [line for note in report.notes for line in note.split("\n")]
    for title, lines in (("Problems", problems or ["none"]), ("Notes", notes), ("Advice", report.advice)):
        if lines:
            show_result("\n".join(["", title, *(f"  {line}" for line in lines)]))


def describe_split(split: SplitReport, task: str) -> str:
    """Describe a split in a few lines."""
    counts = [count for count in split.classes.values() if count]
    lines = [f"{split.images:,} images, {split.source}"]
    if counts and task == "classification":
        many = "class" if len(counts) == 1 else "classes"
        each = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        ratio = f" (1:{max(counts) / min(counts):.3g})" if min(counts) != max(counts) else ""
        lines.append(f"{len(counts):,} {many} of {each} images{ratio}")
    if split.looked_at < split.images:
        lines.append(f"{split.looked_at:,} of them looked at")
    lines.append(", ".join(f"{count:,} {kind}" for kind, count in split.formats.items()) or "none can be read")
    if sizes := split.sizes:
        small, large = (f"{picture.columns}x{picture.rows}" for picture in (sizes.smallest, sizes.largest))
        named = [f"smallest {small}, {sizes.smallest.path}", f"largest {large}, {sizes.largest.path}"]
        lines += [f"all {small}"] if small == large else named
    return "\n".join(lines)


def show_labels(report: Report) -> None:
    """Show how many images each class has in each split, or what numbers each target takes."""
    show_result("")
    if report.task == "regression":
        rows = [
            [split.name, name, *(f"{value:.4g}" for value in (found.low, found.mean, found.high))]
            for split in report.splits
            for name, found in split.targets.items()
        ]
        show_table(["split", "target", "lowest", "mean", "highest"], rows)
        return
    names = list(dict.fromkeys(name for split in report.splits for name in split.classes))
    total = {name: sum(split.classes.get(name, 0) for split in report.splits) for name in names}
    if len(names) > MOST_CLASSES:
        ordered = sorted(names, key=lambda name: -total[name])
        names = ordered[: MOST_CLASSES // 2] + ordered[-MOST_CLASSES // 2 :]
    word = "class" if report.task == "classification" else "label"
    show_table(
        [word, *(split.name for split in report.splits)],
        [[name, *(split.classes.get(name, 0) for split in report.splits)] for name in names],
    )
    if left := len(total) - len(names):
        show_result(f"and {left:,} {word}{'es' if word == 'class' else 's'} between these; --json has all")


def show_sizes(report: Report) -> None:
    """Show a histogram of the pictures' short sides, over all splits, where they differ."""
    counts: dict[str, int] = {}
    for split in report.splits:
        for name, count in (split.sizes.short_sides if split.sizes else {}).items():
            counts[name] = counts.get(name, 0) + count
    if len(counts) < 2:
        return
    ordered = sorted(counts, key=lambda name: int(name.lstrip("<>=").partition("-")[0]) - name.startswith("<"))
    most = max(counts.values())
    show_result("")
    show_table(
        ["short side", "images", ""],
        [[name, counts[name], "#" * math.ceil(BAR * counts[name] / most)] for name in ordered],
    )


def say_problem(problem: Problem) -> list[str]:
    """Say what is wrong, and name a few of the images or classes that it is about."""
    shown = [f"  {line}" for line in problem.examples[:MOST_NAMED]]
    if problem.examples and problem.count > len(shown):
        shown.append(f"  and {problem.count - len(shown):,} more (--json names more)")
    return [problem.text, *shown]
