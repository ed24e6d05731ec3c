"""What a study found: one plain summary, its table in words, and both as files beside the plot."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from vit_cli.checkpoint.commit import commit, commit_json
from vit_cli.metrics.names import SCORES
from vit_cli.study.effect import Scores, compare, spread_over_seeds
from vit_cli.study.jobs import Grid
from vit_cli.study.results import read_result
from vit_cli.study.schema import FLOPS, Arm, LoadedStudy
from vit_cli.train.environment import describe_environment
from vit_cli.train.folder import RunFolder

KEYS = ("title", "claim", "source", "published", "note", "score", "reference", "axis", "base")
OUTCOMES = {
    (True, False, False): "holds",
    (True, True, False): "holds as far as decided",
    (False, True, False): "undecided",
    (False, False, False): "undecided",
    (False, False, True): "does not hold",
    (False, True, True): "does not hold as far as decided",
}
"""By whether some differences came out as claimed, are undecided, came out otherwise; no difference can only be refuted."""

Results = Mapping[tuple[str, tuple[int, int]], Mapping[str, Any]]


def read_results(grid: Grid) -> Results:
    """Give the results that are there, of every arm by fold and seed."""
    found = {digest: read_result(RunFolder(folder)) for digest, folder in {(j.digest, j.folder) for j in grid.values()}}
    return {place: result for place, job in grid.items() if (result := found[job.digest]) is not None}


def summarise(loaded: LoadedStudy, grid: Grid) -> dict[str, Any]:
    """Gather in plain values what a study asks, what was run, and what came out."""
    study, results = loaded.study, read_results(grid)
    first = next(iter(grid.values())).recipe
    arms = [describe_arm(arm, results, loaded, first.data.hold_out) for arm in study.arms]
    machine = describe_environment()
    outcome = judge(arms) if len(results) in (0, len(grid)) else f"{judge(arms)}, by {len(results)} of {len(grid)} runs"
    return {
        "study": loaded.name,
        **{key: getattr(study, key) for key in KEYS},
        "label": SCORES[study.score].label + (" (%)" if SCORES[study.score].in_percent else ""),
        "digits": 2 if SCORES[study.score].in_percent else 4,
        "changes": list(loaded.changes),
        "folds": list(study.folds),
        "seeds": list(study.seeds),
        "outcome": outcome,
        "runs": {"done": len(results), "of": len(grid)},
        "seconds": round(sum({result["digest"]: result["seconds"] for result in results.values()}.values()), 1),
        "machine": {key: machine[key] for key in ("vit", "processor", "cpus", "threads", "gpus", "packages")},
        "arms": arms,
    }


def describe_arm(arm: Arm, results: Results, loaded: LoadedStudy, hold_out: float) -> dict[str, Any]:
    """Gather one arm's runs, and how they compare."""
    study, own = loaded.study, {cell: result for (name, cell), result in results.items() if name == arm.name}
    scores = score(own, study.score)
    other = study.reference_of(arm)
    effect = None
    if other is not None:
        theirs = {cell: result for (name, cell), result in results.items() if name == other}
        effect = compare(scores, score(theirs, study.score), hold_out)
    verdict = effect.verdict(SCORES[study.score].is_better_higher) if effect else None
    flops = median(result["train_flops"] for result in own.values()) if own else None
    return {
        "name": arm.name,
        "title": arm.label,
        "shown": arm.shown,
        "series": arm.series,
        "at": flops if study.axis == FLOPS else arm.at,
        "mean": fmean(scores.values()) if scores else None,
        "seed_spread": spread_over_seeds(scores),
        "against": other,
        **({"effect": effect._asdict()} if effect else {"effect": None}),
        "verdict": verdict,
        "expected": arm.expected,
        "published": arm.published,
        "parameters": next((result["parameters"] for result in own.values()), None),
        "train_flops": flops,
        "images": next((result["images"] for result in own.values()), None),
        "seconds": median(result["seconds"] for result in own.values()) if own else None,
        "runs": [
            {
                "fold": fold,
                "seed": seed,
                "score": scores[fold, seed],
                "loss": result["scores"]["val_loss"],
                "digest": result["digest"],
            }
            for (fold, seed), result in sorted(own.items())
        ],
    }


def score(results: Mapping[tuple[int, int], Mapping[str, Any]], name: str) -> Scores:
    """Give the compared score of runs."""
    key = "val_loss" if name == "loss" else name
    return {cell: result["scores"][key] for cell, result in results.items()}


def judge(arms: Sequence[Mapping[str, Any]]) -> str:
    """Say whether the claim held: by the arms of which it expects something."""
    asked = [(arm["expected"], arm["verdict"]) for arm in arms if arm["expected"] and arm["verdict"]]
    if not asked:
        return "nothing was claimed" if not any(arm["expected"] for arm in arms) else "not run yet"
    confirmed = any(verdict == expected for expected, verdict in asked)
    undecided = any(expected != "same" and verdict == "undecided" for expected, verdict in asked)
    against = any(verdict not in (expected, "undecided") for expected, verdict in asked)
    return OUTCOMES.get((confirmed, undecided, against), "holds in part")


def write_summary(out: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary and its table, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    commit_json(out / "study.json", summary, indent=1)
    commit(out / "study.md", lambda aside: aside.write_text(write_page(summary), encoding="utf-8"))


def write_page(summary: Mapping[str, Any], level: int = 1) -> str:
    """Put a summary into Markdown: the claim, what was published, the table, the verdict and how to run it again."""
    done = summary["runs"]
    count = f"{done['done']} runs" if done["done"] == done["of"] else f"{done['done']} of {done['of']} runs so far"
    folds, seeds = listed(summary["folds"]), listed(summary["seeds"])
    lines = [
        f"{'#' * level} {summary['title']}",
        "",
        f"**Claim.** {summary['claim']} ({summary['source']})",
        "",
        f"**Published.** {summary['published']}",
        "",
        f"**Here: {summary['outcome']}.** {summary['note'] or ''}".rstrip(),
        "",
        *write_table(summary),
        "",
        f"`{write_command(summary)}`: {count}, folds {folds}, seeds {seeds}; {describe_machine(summary)}.",
    ]
    return "\n".join(lines) + "\n"


def write_command(summary: Mapping[str, Any]) -> str:
    """Give the command that runs a study again."""
    return shlex.join(["vit", "study", summary["study"], *summary["changes"]])


def describe_machine(summary: Mapping[str, Any]) -> str:
    """Say how long training took, and on what."""
    machine = summary["machine"]
    threads = f"{machine['threads']} thread" + ("s" if machine["threads"] > 1 else "")
    where = ", ".join(machine["gpus"]) or f"{machine['processor']}, {threads}"
    versions = f"vit {machine['vit']}, torch {machine['packages']['torch']}"
    return f"{summary['seconds'] / 60:.0f} minutes of training on {where}; {versions}"


def write_table(summary: Mapping[str, Any]) -> list[str]:
    """Give the lines of the table."""
    heads = ["arm", summary["label"], "over seeds", "difference [95 %]", "against", "published", "claimed", "verdict"]
    aligned = ["---", "---:", "---:", "---:", *["---"] * 4]
    titles = {arm["name"]: arm["title"] for arm in summary["arms"]}
    rows = [
        write_row(arm, titles, summary["digits"]) for arm in summary["arms"] if arm["shown"] and arm["mean"] is not None
    ]
    return [f"| {' | '.join(cells)} |" for cells in (heads, aligned, *rows)]


def write_row(arm: Mapping[str, Any], titles: Mapping[str, str], digits: int) -> list[str]:
    """Give the cells of one arm."""
    return [
        arm["title"],
        f"{arm['mean']:.{digits}f}",
        "" if arm["seed_spread"] is None else f"± {arm['seed_spread']:.{digits}f}",
        write_effect(arm["effect"], digits),
        titles.get(arm["against"], ""),
        arm["published"] or "",
        arm["expected"] or "",
        tell_verdict(arm),
    ]


def tell_verdict(arm: Mapping[str, Any]) -> str:
    """Give the verdict on an arm in a word: nothing where there is nothing to compare it with."""
    return arm["verdict"] or ("reference" if arm["against"] is None else "")


def write_effect(effect: Mapping[str, Any] | None, digits: int) -> str:
    """Write a difference with its interval."""
    if effect is None:
        return ""
    if effect["low"] is None:
        return f"{effect['difference']:+.{digits}f}"
    return f"{effect['difference']:+.{digits}f} [{effect['low']:+.{digits}f}, {effect['high']:+.{digits}f}]"


def listed(numbers: Sequence[int]) -> str:
    """Write numbers as 0-4 where they follow each other, else with spaces."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return " ".join(map(str, numbers))
