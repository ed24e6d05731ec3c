"""What `vit eval` shows: a line or a table of scores, more about them, and every class by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vit_cli.cli.console import show_json, show_result, show_table
from vit_cli.metrics.names import SCORES, WORDS, says_something

if TYPE_CHECKING:
    from vit_cli.metrics.task import Row, Task


@dataclass(frozen=True)
class Shown:
    """What was found at one resolution, in plain values: the facts of `Judged`, and the score of every class."""

    facts: dict[str, Any]
    per_class: tuple[Row, ...]

    @property
    def res(self) -> str:
        """The resolution as people write it."""
        return "x".join(map(str, self.facts["res"]))

    def document(self, per_class: bool) -> dict[str, Any]:
        """Give all of it as one document."""
        return self.facts | ({"per_class": list(self.per_class)} if per_class else {})


def show_judged(shown: Sequence[Shown], task: Task, *, per_class: bool, json: bool) -> None:
    """Show the scores at each resolution, and with `per_class` those of every class, label or target.

    As JSON one resolution is one document, several are a list.
    """
    if json:
        documents = [each.document(per_class) for each in shown]
        show_json(documents[0] if len(documents) == 1 else documents)
        return
    if len(shown) == 1:
        show_scores(shown[0], task)
    else:
        show_resolutions(shown, task)
    for each in shown:
        title = f"\nat {each.res}" if len(shown) > 1 else ""
        if "corruptions" in each.facts:
            show_corruptions(each.facts["corruptions"], title)
        if per_class and each.per_class:
            show_each(each, task, title)


def show_scores(shown: Shown, task: Task) -> None:
    """Show one resolution: a line with the scores that count, and one with what else they tell."""
    facts, word = shown.facts, WORDS[task.name]
    outputs = f"{facts[word]} {word if facts[word] != 1 else word[:-1]}"
    scores = say((*main_names(task), "loss"), facts)
    if task.name == "regression" and len(task.names) > 1:
        scores += " (means of the targets; --per-class has each)"
    show_result(
        f"{scores}   {facts['images']} images, {outputs}, {shown.res} pixels{', flips' if 'flips' in facts else ''}, "
        f"{facts['seconds']:.1f} s ({facts['images_per_second']:.0f} img/s)"
    )
    if task.detailed:
        show_result(say(task.detailed, facts))
    if "real" in facts:
        show_result(f"{say(['real'], facts)}   {facts['real_images']} images that have ReaL labels")


def show_resolutions(shown: Sequence[Shown], task: Task) -> None:
    """Show a table with a row for each resolution."""
    names = [*main_names(task), "loss", *task.detailed, *(["real"] if "real" in shown[0].facts else [])]
    heads = [SCORES[name].label + (" %" if SCORES[name].in_percent else "") for name in names]
    rows = [
        [each.res, *(SCORES[name].form.format(each.facts[name]) for name in names),
         f"{each.facts['images_per_second']:.0f}"]
        for each in shown
    ]  # fmt: skip
    show_table(["pixels", *heads, "img/s"], rows)
    show_result(f"{shown[0].facts['images']} images{', flips' if 'flips' in shown[0].facts else ''}")


def show_corruptions(found: Mapping[str, Any], title: str) -> None:
    """Show the main score for each kind of harm at each strength, with means."""
    score = SCORES[found["score"]]
    columns = ["corruption", *map(str, range(1, 6)), "mean"]
    rows = [
        [kind, *(score.form.format(value) for value in (*scores["strengths"], scores["mean"]))]
        for kind, scores in found["kinds"].items()
    ]
    text = f"{score.label} on harmed images, by strength: mean {score.write(found['mean'])}"
    show_result(f"{title}\n{text}" if title else text)
    show_table(columns, rows)


def show_each(shown: Shown, task: Task, title: str) -> None:
    """Show the score of every class, label or target."""
    if title:
        show_result(title)
    write = "{:.4g}" if task.name == "regression" else "{:.2f}"
    show_table(
        list(shown.per_class[0]),
        [[write.format(v) if isinstance(v, float) else v for v in row.values()] for row in shown.per_class],
    )


def main_names(task: Task) -> list[str]:
    """Name the scores that count."""
    return [name for name in task.reported if says_something(name, len(task.names))]


def say(names: Sequence[str], facts: Mapping[str, Any]) -> str:
    """Write scores with their names and units."""
    return "   ".join(SCORES[name].say(facts[name]) for name in names)
