"""Starting a run: from a recipe to a finished run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vit_cli import __version__
from vit_cli.dist.place import name_job, was_restarted
from vit_cli.dist.world import World, joined
from vit_cli.recipe.load import Loaded, to_yaml
from vit_cli.train.course import Options, Outcome, check_same, explaining_memory, make_watcher, reported, train
from vit_cli.train.describe import count_train_flops, describe_doubts, describe_run
from vit_cli.train.environment import check_versions, command_line, describe_environment
from vit_cli.train.folder import RunFolder, choose_folder, find_begun, make_folder, release_folder, reserve_folder
from vit_cli.train.lock import locked
from vit_cli.train.progress import Progress, Silence
from vit_cli.train.resume import resume_run
from vit_cli.train.state import TrainState
from vit_cli.train.stop import StopFlag
from vit_cli.train.trial import describe_cost, describe_trial, make_trial
from vit_cli.train.wire import wire


def start_run(loaded: Loaded, options: Options, progress: Progress) -> Outcome | None:
    """Train what a recipe asks for, in a new run folder; a recipe with `finetune` starts from its weights.

    Nothing is written before everything is built, so a recipe whose data is missing leaves nothing behind. Started again
    by its launcher, it goes on with the run that it had begun; None if that is finished.
    """
    check_versions()
    begun = find_begun(options.out, to_yaml(loaded.recipe)) if was_restarted() else None
    if begun is not None:
        return resume_run(begun, options, progress)
    with StopFlag(options.seconds, options.end).listening() as stop, joined(options.devices) as world:
        stop.speaks = world.is_first
        what = [__version__, to_yaml(loaded.recipe)]
        check_same(world, what, "another recipe or vit than", "Start all of them with the same command.")
        with new_folder(options.name or loaded.path.stem, options, world) as folder:
            run = wire(loaded.recipe, folder, world, make_watcher(progress, folder, world))
            if world.is_first:
                fill_folder(folder, loaded)
            world.barrier()
            state = TrainState()
            with reported(run, state, stop, options.end):
                return train(run, state, stop)


@contextmanager
def new_folder(name: str, options: Options, world: World) -> Iterator[RunFolder]:
    """Reserve the folder of a new run for the block, and remove it if nothing was written into it."""
    path = reserve_folder(name, options.out, options.overwrite).path if world.is_first else Path()
    folder = RunFolder(Path(world.share(str(path))))
    try:
        with locked(folder.path) if world.is_first else nullcontext():
            yield folder
    finally:
        if world.is_first:
            release_folder(folder)


def fill_folder(folder: RunFolder, loaded: Loaded) -> None:
    """Write down what a new run was asked to do, and what it runs on."""
    make_folder(folder)
    folder.write_text("recipe.yaml", f"# {command_line()}\n{loaded.text}")
    folder.write_text("resolved.yaml", to_yaml(loaded.recipe))
    folder.write_json("env.json", describe_environment() | {"seed": loaded.recipe.seed, "job": name_job()})


def try_run(loaded: Loaded, options: Options, progress: Progress) -> dict[str, Any]:
    """Build a run, make a few real steps, and leave nothing behind; give the plan, and what the run will take.

    Raises UsageError if the place that the run would have is taken.
    """
    with joined(options.devices) as world, TemporaryDirectory() as scratch:
        watcher = progress if world.is_first else Silence()
        if world.is_first:
            choose_folder(options.name or loaded.path.stem, options.out, options.overwrite)
        run = wire(loaded.recipe, RunFolder(Path(scratch)), world, watcher)
        watcher.header(describe_run(run) | {"folder": "none: a dry run writes nothing"})
        for text in (*run.changes, *describe_doubts(run)):
            watcher.note(text)
        with explaining_memory(run):
            trial = make_trial(run)
        flops, plain = count_train_flops(run)
        cost = {**describe_cost(run), "train_flops": flops, "train_flops_without_phases": plain}
        return {"plan": run.plan.model_dump(mode="json"), **cost, **describe_trial(run, trial)}
