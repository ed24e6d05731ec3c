"""Starting several processes on this machine, under torch's elastic launcher."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from vit_cli.device import choose_device
from vit_cli.dist.orphan import LAUNCHER
from vit_cli.errors import Stopped, UsageError


def count_processes(devices: str) -> int:
    """Tell how many processes `--devices` asks for on this machine; UsageError if it does not have the devices for them."""
    if devices == "auto":
        return max(torch.cuda.device_count(), 1)
    count = int(devices) if devices.isdecimal() else len(devices.split(","))
    if count == 0:
        raise UsageError("--devices 0 asks for no process at all", "Write --devices cpu to train without a GPU.")
    choose_device(devices, local_rank=count - 1)
    return count


def run_processes(processes: int, arguments: Sequence[str], folder: Path) -> Mapping[int, Any]:
    """Run `vit` with these arguments to its end in so many processes, under torch's elastic launcher.

    Gives the failures by rank, with `exitcode` and `timestamp`; the launcher ends the others when one fails. It writes
    into `folder`. Raises Stopped if a signal reached the launcher itself.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    elastic = logging.getLogger("torch.distributed.elastic")
    elastic.propagate = False  # what it has to say about failures, vit says in the user's words
    elastic.addHandler(logging.NullHandler())
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
        signals_to_handle="SIGQUIT",
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // processes, 1)))
    os.environ[LAUNCHER] = str(os.getpid())
    literal = [argument.replace("$", "$$") for argument in arguments]  # the launcher fills in ${local_rank}
    try:
        elastic_launch(config, sys.executable)("-m", "vit_cli", *literal)
    except ChildFailedError as error:
        return error.failures
    except SignalException as error:
        raise Stopped(f"stopped by {error.sigval.name}", exit_code=128 + error.sigval) from error
    finally:
        del os.environ[LAUNCHER]
    return {}
