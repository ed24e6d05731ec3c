"""Going on with a run exactly where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from vit_cli.data.fingerprint import differences as data_differences
from vit_cli.dist.world import World, joined
from vit_cli.errors import CheckpointError, DataError
from vit_cli.recipe.difference import Difference, compare_recipes, may_resume_with
from vit_cli.recipe.load import load_recipe, to_yaml
from vit_cli.recipe.schema import Recipe
from vit_cli.train.course import Options, Outcome, check_same, make_watcher, reported, train
from vit_cli.train.environment import check_versions
from vit_cli.train.folder import RunFolder, mark_latest
from vit_cli.train.keep import Newest, publish, read_newest, restore
from vit_cli.train.lock import Owner, locked
from vit_cli.train.progress import Progress
from vit_cli.train.state import TrainState
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run, wire


def resume_run(folder: RunFolder, options: Options, progress: Progress, changes: Sequence[str] = ()) -> Outcome | None:
    """Go on with a run exactly where its newest checkpoint stands; None if it is finished and has its report already.

    `changes` may touch what does not change the result. Raises CheckpointError, with the differences, for a recipe that
    is not the run's, DataError for data that is not.
    """
    check_versions()
    with StopFlag(options.seconds, options.end).listening() as stop, joined(options.devices) as world:
        stop.speaks = world.is_first
        with locked(folder.path) if world.is_first else nullcontext() as former:
            recipe = load_recipe(folder.resolved, changes).recipe
            newest = read_newest(folder)
            check_same(
                world,
                [to_yaml(recipe), newest.path.name if newest else None],
                f"another recipe or newest checkpoint in {folder.path} than",
                "The run folder must lie on a file system that all machines share.",
            )
            if newest and newest.content["state"]["finished"] and folder.report.is_file():
                return None
            watcher = make_watcher(progress, folder, world)
            for text in (*describe_former(former), *describe_devices(folder, world), *describe_newest(newest)):
                watcher.note(text)
            for change in check_recipe(folder, newest, recipe):
                watcher.note(f"changed: {change}")
            state = TrainState()
            run = wire(recipe, folder, world, watcher, resumed=newest.content["about"] if newest else None)
            if newest:
                take_up(newest, run, state)
            elif world.is_first:
                run.bad_images.path.unlink(missing_ok=True)
            del newest  # it holds a copy of all weights and moments
            if world.is_first:
                mark_latest(folder.path)
                folder.write_text("resolved.yaml", to_yaml(recipe))
            with reported(run, state, stop, options.end):
                return train(run, state, stop)


def check_recipe(folder: RunFolder, newest: Newest | None, recipe: Recipe) -> list[Difference]:
    """Give what is different in the recipe since the checkpoint, or since the start, if all of it may be.

    Raises CheckpointError, with the differences, for what may not.
    """
    at_start = load_recipe(folder.resolved).recipe.model_dump(mode="json")
    changed = compare_recipes(newest.content["about"]["recipe"] if newest else at_start, recipe)
    refused = [one for one in changed if not may_resume_with(one.key)]
    if refused:
        raise CheckpointError(
            f"{newest.path if newest else folder.path} was made with another recipe:\n  "
            + "\n  ".join(map(str, refused)),
            "Only what does not change the result may change. To train these weights with another recipe: vit finetune.",
        )
    return changed


def take_up(newest: Newest, run: Run, state: TrainState) -> None:
    """Bring a run to where its checkpoint stands, and say so.

    Raises DataError if the data is not the same any more, CheckpointError if the teacher is not.
    """
    about = newest.content["about"]
    changed = [
        f"{side}: {difference}"
        for side, key in (("train", "fingerprint"), ("val", "val_fingerprint"))
        for difference in data_differences(about[key], run.about[key])
    ]
    if changed:
        raise DataError(
            "the data is not that of the run any more:\n  " + "\n  ".join(changed),
            "An exact resume needs the same images. To train these weights on other data: vit finetune.",
        )
    if about.get("teacher") != run.about["teacher"]:
        raise CheckpointError(
            f"the teacher is not that of the run any more:\n  {about.get('teacher')} -> {run.about['teacher']} (SHA-256)",
            "An exact resume needs the same teacher; where it lies may change: distill.teacher=PATH",
        )
    if about["precision"] != run.precision:
        run.progress.note(
            f"{about['precision']} -> {run.precision}: that is what train.precision=auto means for this device and model; "
            "results differ"
        )
    if run.world.is_first:
        publish(run.folder, newest.path, newest.content)
    restore(run, state, newest.content)
    run.progress.note(f"going on from step {state.step}")


def describe_newest(newest: Newest | None) -> list[str]:
    """Say which checkpoints could not be read, or that there is none."""
    if newest is None:
        return ["there is no checkpoint yet: starting again at step 0"]
    return [f"{note}; going on from {newest.path.name}" for note in newest.notes]


def describe_former(former: Owner | None) -> list[str]:
    """Say that the process that had the run before did not end in good order."""
    return [f"{former} left the run without a word; going on from its last checkpoint"] if former else []


def describe_devices(folder: RunFolder, world: World) -> list[str]:
    """Say that the run was on another number of processes."""
    before = folder.read_json("plan.json").get("processes", world.size)
    if before == world.size:
        return []
    return [
        f"{before} -> {world.size} processes: the same images in the same order, with the same augmentation and mixing; "
        f"sums are rounded and dropout is drawn differently (--devices {before} keeps the last bit)"
    ]
