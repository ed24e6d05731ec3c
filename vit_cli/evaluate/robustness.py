"""How much of its score a model keeps on harmed images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vit_cli.augment.corruptions import KINDS, STRENGTHS, Corruption
from vit_cli.data.samples import Samples
from vit_cli.dist.world import World
from vit_cli.errors import UsageError
from vit_cli.evaluate.saved import Ready, evaluate_saved


class Robustness(NamedTuple):
    """The main score of the task for each kind of harm, at each strength from 1 to 5."""

    score: str
    kinds: dict[str, tuple[float, ...]]

    def mean(self, kind: str) -> float:
        """Average the score of a kind over the strengths."""
        return sum(self.kinds[kind]) / len(self.kinds[kind])

    @property
    def total(self) -> float:
        """The mean over all kinds."""
        return sum(map(self.mean, self.kinds)) / len(self.kinds)

    def facts(self) -> dict[str, Any]:
        """Give all of it in plain values."""
        kinds = {kind: {"strengths": list(scores), "mean": self.mean(kind)} for kind, scores in self.kinds.items()}
        return {"score": self.score, "mean": self.total, "kinds": kinds}


def read_kinds(text: str) -> tuple[str, ...]:
    """Read names with commas between them, or `all`; UsageError that lists all unknown ones."""
    names = list(KINDS) if text.strip() == "all" else [part.strip() for part in text.split(",")]
    if unknown := [name for name in names if name not in KINDS]:
        raise UsageError(
            f"--corruptions {text}: unknown: {', '.join(map(repr, unknown))}",
            f"Write all, or some of {', '.join(KINDS)}.",
        )
    return tuple(dict.fromkeys(names))


def judge_corrupted(
    ready: Ready, samples: Samples, world: World, kinds: Sequence[str], flips: bool, note: Callable[[str], None]
) -> Robustness:
    """Judge a model on all images harmed in each of some kinds, at five strengths; `note` hears of each kind that is done."""
    found: dict[str, tuple[float, ...]] = {}
    main = ready.task.main
    for number, kind in enumerate(kinds, start=1):
        harms = [Corruption(kind, strength) for strength in range(1, STRENGTHS + 1)]
        found[kind] = tuple(
            evaluate_saved(ready, samples, world, flips=flips, alter=harm).scores[main] for harm in harms
        )
        note(f"{kind} judged, {number} of {len(kinds)} kinds of corruption")
    return Robustness(main, found)
