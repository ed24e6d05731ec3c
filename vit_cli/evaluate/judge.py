"""All that can be asked about a saved model at once: at several resolutions, with flips, by ReaL's labels, on harmed images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vit_cli.data.samples import Samples
from vit_cli.dist.world import World
from vit_cli.errors import UsageError
from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.evaluate.real import Real, open_real, score_real
from vit_cli.evaluate.runnable import Runnable
from vit_cli.evaluate.saved import Ready, evaluate_saved, read_task
from vit_cli.metrics.names import WORDS

if TYPE_CHECKING:
    from vit_cli.evaluate.robustness import Robustness


@dataclass(frozen=True)
class Asked:
    """What to judge a model by. A resolution None is the model's own; `real` is a file of labels."""

    resolutions: tuple[int | None, ...] = (None,)
    flips: bool = False
    real: Path | None = None
    corruptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What was found at one resolution; `robustness` is None if it was not asked for."""

    ready: Ready
    evaluation: Evaluation
    robustness: Robustness | None
    flips: bool

    def facts(self) -> dict[str, Any]:
        """Give all but the scores of single classes, in plain values by the names that `--json` promises."""
        scores, seconds, task = self.evaluation.scores, self.evaluation.seconds, self.ready.task
        facts: dict[str, Any] = {
            **{name: scores[name] for name in (*task.reported, "loss")},
            "images": int(scores["images"]),
            WORDS[task.name]: len(task.names),
            "res": list(self.ready.res),
            "seconds": seconds,
            "images_per_second": scores["images"] / max(seconds, 1e-9),
            **{name: scores[name] for name in task.detailed},
        }
        facts |= {name: scores[name] for name in ("real", "real_images") if name in scores}
        if self.flips:
            facts["flips"] = True
        if self.robustness is not None:
            facts["corruptions"] = self.robustness.facts()
        return facts


def check_asked(asked: Asked, runnable: Runnable) -> None:
    """Raise UsageError, before any image is read, for what can't be asked of a model."""
    runnable.check([res for res in asked.resolutions if res is not None])
    task = read_task(runnable.saved)
    if asked.real and task.name != "classification":
        raise UsageError(f"--real is for models that tell one class of an image; this one learned {task.name}")


def judge(
    runnable: Runnable, samples: Samples, world: World, asked: Asked, note: Callable[[str], None]
) -> Iterator[Judged]:
    """Judge a model at each resolution in turn; `note` hears what is done to the weights, and how far it is.

    Raises UsageError for labels of ReaL that are none, DataError for images that they are not for.
    """
    real = open_real(asked.real, samples, runnable.saved.class_names) if asked.real else None
    for res in asked.resolutions:
        ready = runnable.ready_at(res)
        for change in ready.changes:
            note(change)
        evaluation = add_real(evaluate_saved(ready, samples, world, flips=asked.flips), real)
        robustness = None
        if asked.corruptions:
            from vit_cli.evaluate.robustness import judge_corrupted  # torchvision takes seconds to import

            robustness = judge_corrupted(ready, samples, world, asked.corruptions, asked.flips, note)
        yield Judged(ready, evaluation, robustness, asked.flips)


def add_real(evaluation: Evaluation, real: Real | None) -> Evaluation:
    """Add the scores by ReaL's labels, `real` in per cent and `real_images`."""
    if real is None or evaluation.answers is None:
        return evaluation
    found = score_real(evaluation.answers, real)
    return replace(evaluation, scores=evaluation.scores | {"real": found.accuracy, "real_images": found.images})
