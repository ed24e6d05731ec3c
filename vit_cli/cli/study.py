"""`vit study`: does a claim hold, by how much, and how sure is that?"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vit_cli.cli import flags
from vit_cli.cli.console import show_json, show_note, show_result, show_table
from vit_cli.cli.finish import end_now
from vit_cli.cli.layout import format_seconds
from vit_cli.errors import UsageError

if TYPE_CHECKING:
    from vit_cli.study.course import Course, Finished, Watcher
    from vit_cli.study.jobs import Grid
    from vit_cli.study.schema import LoadedStudy
    from vit_cli.train.course import Options

Studies = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY... [KEY=VALUE]...",
        help="Shipped studies by name, or files; then changes to them, e.g. 'seeds=[0]' or base=cifar10_vit.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help="The folder of all runs, tables and plots; finished runs in it are not done again.",
        parser=flags.read_out,
        metavar="<path>",
        rich_help_panel=flags.OUTPUT,
    ),
]
Arms = Annotated[str | None, typer.Option("--arms", help="Only these arms, with commas, and those they need.")]
Devices = Annotated[
    str,
    typer.Option("--devices", help="auto (the first GPU, if there is one) or cpu.", rich_help_panel=flags.RUNNING),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="List the runs and guess their time; stop.", rich_help_panel=flags.RUNNING),
]
PICTURE_SECONDS = 60.0
"""A plot is drawn at most so often, for it takes as long as a small run's step or ten."""


def study(
    studies: Studies,
    out: Out = Path("runs/studies"),
    arms: Arms = None,
    devices: Devices = "auto",
    dry_run: DryRun = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Train the arms of a study over folds and seeds, and say what is better, worse or undecided."""
    from vit_cli.study.course import Course, Known, explain_failures, find_needed, make_runs_folder
    from vit_cli.study.jobs import choose, make_jobs
    from vit_cli.study.schema import load_study, shipped_studies
    from vit_cli.study.turns import take_turns
    from vit_cli.train.course import Options

    names, changes = [token for token in studies if "=" not in token], [token for token in studies if "=" in token]
    if not names:
        raise UsageError("no study is named", f"Name a file, or a shipped one: {', '.join(shipped_studies())}.")
    refuse_several(devices)
    loaded = [load_study(name, changes) for name in names]
    chosen = [name.strip() for name in arms.split(",")] if arms else []
    grids = [make_jobs(one, out.absolute() / "runs") for one in loaded]
    parts = [choose(one, grid, chosen) for one, grid in zip(loaded, grids, strict=True)]
    needed = {digest for part in parts for digest in find_needed(part.values())}
    options = Options(devices=devices, end=end_now)
    if dry_run:
        show_estimates(loaded, parts, needed, options, json=json)
        return
    make_runs_folder(out)
    known = Known()
    desks = [
        Desk(one, grid, out / one.name, partial(Course, part, needed, options, known), quiet=quiet, shows=not json)
        for one, grid, part in zip(loaded, grids, parts, strict=True)
    ]
    take_turns(desks, options, desks[0].say)
    if json:
        show_json([desk.summary for desk in desks])
    if failures := [failure for desk in desks for failure in desk.course.failures]:
        raise explain_failures(failures)


def refuse_several(devices: str) -> None:
    """Raise UsageError where several devices or processes are to train one run."""
    from vit_cli.dist.launch import count_processes
    from vit_cli.dist.place import find_place

    started = find_place().size
    asked = f"a launcher started {started} processes" if started > 1 else f"--devices {devices}"
    are_several = "," in devices or (devices.isdecimal() and int(devices) > 1)
    if not are_several and devices != "auto":
        count_processes(devices)
    if started > 1 or are_several:
        raise UsageError(
            f"{asked}: each run of a study is on one device, in one process",
            "Start the command once for each GPU, CUDA_VISIBLE_DEVICES=1 before it: each takes the runs that no other has.",
        )


class Desk:
    """Runs one study, and keeps its files and the user up to date."""

    def __init__(
        self,
        loaded: LoadedStudy,
        grid: Grid,
        out: Path,
        begin: Callable[[Watcher], Course],
        *,
        quiet: bool,
        shows: bool,
    ) -> None:
        self.loaded, self.grid, self.out, self.begin = loaded, grid, out, begin
        self.quiet, self.shows = quiet, shows and not quiet
        self.drawn = 0.0
        self.summary: dict[str, Any] = {}

    @cached_property
    def course(self) -> Course:
        """Find out what is left, when its turn comes: the studies before may have had the same runs."""
        course = self.begin(self.hear)
        total, left = len(course.jobs), len(course.waiting)
        count = f"{total} run{'s' if total > 1 else ''}"
        self.say(f"{self.loaded.name}: {self.loaded.study.title}; {count}, {total - left} of them done")
        return course

    def go_round(self) -> bool:
        """Do what no other process has, write and show what came out; tell whether any run ended."""
        moved = True
        try:
            moved = self.course.go_round()
        finally:
            if moved or not self.summary:
                self.write(draws=moved)
        if self.shows and not self.course.waiting:
            show_result(describe(self.summary, self.out))
        return moved

    def hear(self, finished: Finished) -> None:
        """Tell of a run that ended, and write what is known by now."""
        name = self.loaded.study.score
        key = "val_loss" if name == "loss" else name
        ended = finished.failure or (
            f"{name} {finished.result['scores'][key]:.2f}  {finished.result['wall_seconds']:.1f} s"
            if finished.result
            else ""
        )
        width = len(str(finished.total))
        self.say(
            f"{finished.number:{width}}/{finished.total}  {finished.names[0]:32}  {ended}  "
            f"eta {format_seconds(finished.eta_seconds)}"
        )
        self.write(draws=time.monotonic() - self.drawn > PICTURE_SECONDS)

    def write(self, draws: bool) -> None:
        """Write the summary, the table, and with `draws` the plot."""
        from vit_cli.report.effects import draw_study
        from vit_cli.study.summary import summarise, write_summary

        self.summary = summarise(self.loaded, self.grid)
        write_summary(self.out, self.summary)
        if draws and self.summary["runs"]["done"]:
            draw_study(self.summary, self.out / "study.png")
            self.drawn = time.monotonic()

    def say(self, text: str) -> None:
        """Show a line on stderr."""
        if not self.quiet:
            show_note(text)


def describe(summary: dict[str, Any], out: Path) -> str:
    """Put what came out into a table for the terminal."""
    from vit_cli.cli.layout import format_table
    from vit_cli.study.summary import tell_verdict, write_effect

    digits = summary["digits"]
    rows = [
        [arm["title"], f"{arm['mean']:.{digits}f}", write_effect(arm["effect"], digits), tell_verdict(arm)]
        for arm in summary["arms"]
        if arm["shown"] and arm["mean"] is not None
    ]
    table = format_table(["arm", summary["label"], "difference [95 %]", "verdict"], rows)
    return f"{table}\nclaim: {summary['claim']}\nhere:  {summary['outcome']}\n{out}/study.md, study.png, study.json"


def show_estimates(
    loaded: list[LoadedStudy], grids: list[Grid], needed: set[str], options: Options, *, json: bool
) -> None:
    """Show how many runs there are, and guess how long they take."""
    from vit_cli.study.course import estimate

    found = {one.name: estimate(grid, needed, options, show_note) for one, grid in zip(loaded, grids, strict=True)}
    if json:
        show_json(found)
        return
    for name, facts in found.items():
        rows = [
            [arm, str(part["runs"]), str(part["left"]), f"{part['run_seconds']:.1f} s", format_seconds(part["seconds"])]
            for arm, part in facts["arms"].items()
        ]
        show_result(f"{name}: {facts['left']} runs to do, about {format_seconds(facts['seconds'])}")
        show_table(["arm", "runs", "left", "a run", "together"], rows)
