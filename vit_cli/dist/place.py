"""Where this process stands among those that a launcher has started."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import torch

from vit_cli.errors import UsageError


class Place(NamedTuple):
    """Where a process stands: its number, how many there are, and its number on its own machine."""

    rank: int
    size: int
    local_rank: int


def find_place() -> Place:
    """Read this process's place from what a launcher has set; UsageError if that is incomplete.

    Slurm sets its variables for a whole job; only inside `srun` do they stand for processes of their own.
    """
    if is_in_slurm_step():
        place = read_place("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        return place._replace(local_rank=0) if torch.cuda.device_count() == 1 else place  # srun gave each its own GPU
    if has_launcher():
        return read_place("RANK", "WORLD_SIZE", "LOCAL_RANK")
    return Place(0, 1, 0)


def was_restarted() -> bool:
    """Tell whether the launcher started these processes anew after a failure: torchrun --max-restarts, Slurm's requeue."""
    counts = [os.environ.get(name, "0") for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")]
    return any(count.isdecimal() and int(count) > 0 for count in counts)


def passes_signals_on() -> bool:
    """Tell whether the launcher sends on to this process what it hears: where all are told to stop, it hears it twice."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def name_job() -> str | None:
    """Give what stays the same when a launcher starts its processes anew, if there is one."""
    names = [os.environ.get(name, "none") for name in ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")]
    return next((name for name in names if name != "none"), None)  # "none" is torchrun's name for what has no name


def has_launcher() -> bool:
    """Tell whether torchrun, Slurm or the like started this process, perhaps with others."""
    return not os.environ.keys().isdisjoint(("RANK", "WORLD_SIZE")) or is_in_slurm_step()


def is_in_slurm_step() -> bool:
    """Tell whether Slurm alone, without another launcher, started several processes; one is as good as none."""
    others = {"RANK", "WORLD_SIZE"} & os.environ.keys()
    return not others and os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"


def read_place(*names: str) -> Place:
    """Read rank, size and local rank from these variables; without the last a process is its machine's only one."""
    values = [os.environ.get(name, default) for name, default in zip(names, ("", "", "0"), strict=True)]
    if not all(value.isdecimal() for value in values) or int(values[0]) >= int(values[1]):
        shown = ", ".join(f"{name}={value or 'nothing'}" for name, value in zip(names, values, strict=True))
        raise UsageError(
            f"the launcher's variables do not fit together: {shown}",
            "Unset them to run without a launcher; to run several processes, --devices is enough.",
        )
    return Place(*map(int, values))


def find_meeting_point() -> dict[str, str]:
    """Give the address and port where the processes meet, of the environment or of Slurm's first machine; UsageError."""
    first_node = re.match(r"([^\[,]+)(?:\[(\d+))?", os.environ.get("SLURM_STEP_NODELIST", ""))  # node[01-04,07]
    job = os.environ.get("SLURM_JOB_ID", "")
    slurm = {
        "MASTER_ADDR": first_node[1] + (first_node[2] or "") if first_node else "",
        "MASTER_PORT": str(20_000 + int(job) % 10_000) if job.isdecimal() else "",
    }
    point = {name: os.environ.get(name, fallback) for name, fallback in slurm.items()}
    missing = [name for name, value in point.items() if not value]
    if missing:
        raise UsageError(
            f"several processes were started, but not where they meet: {' and '.join(missing)} are not set",
            "Set them to the first machine and a free port of it, or let --devices or torchrun start the processes.",
        )
    return point
