"""`--fail-under`: scores that a model must reach."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vit_cli.errors import GateError, UsageError
from vit_cli.metrics.names import SCORES

ROUNDING = 1e-9
"""7 of 125 images are 0.056, but not to the last bit."""


def read_gates(text: str) -> dict[str, float]:
    """Read `top1=0.9,rmse=2.5`: shares from 0 to 1 for what is a percentage, else numbers."""
    gates = {}
    for part in text.split(","):
        match = re.fullmatch(r"(\w+)=(-?\d*\.?\d+)", part.strip())
        known = match and SCORES.get(match[1])
        if not match or not known or (known.in_percent and not 0 <= float(match[2]) <= 1):
            raise UsageError(
                f"--fail-under {text} is not understood",
                "Write for example top1=0.9 or top1=0.9,top5=0.99 (shares from 0 to 1), or ece=0.05. "
                f"Scores: {', '.join(SCORES)}.",
            )
        gates[match[1]] = float(match[2])
    return gates


def check_known(gates: Mapping[str, float], names: Sequence[str], task: str) -> None:
    """Raise UsageError for a gate on a score that is not among those of this evaluation, of a task."""
    for name in gates:
        if name not in names:
            raise UsageError(f"--fail-under {name}: {task} has no such score", f"It has {', '.join(names)}.")


def check_gates(gates: Mapping[str, float], judged: Sequence[Mapping[str, Any]]) -> None:
    """Raise GateError for every score that is worse than its gate (of a percentage: a share), by more than rounding.

    `judged` are the scores of one or more evaluations, with the resolution of each as `res`.
    """
    bad = []
    for scores in judged:
        where = f" at {scores['res'][0]}x{scores['res'][1]}" if len(judged) > 1 else ""
        for name, gate in gates.items():
            kind = SCORES[name]
            value = scores[name] / 100 if kind.in_percent else scores[name]
            margin = (value - gate) * (1 if kind.is_better_higher else -1)
            if not margin >= -ROUNDING:
                side = "below" if kind.is_better_higher else "above"
                bad.append(f"{name}{where} is {value:.4f}, {side} {gate:g}")
    if bad:
        raise GateError("; ".join(bad))
