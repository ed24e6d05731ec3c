"""One process that does nothing special, and two real ones that agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tests.unit.dist.conftest import free_port
from vit_cli.dist.launch import count_processes
from vit_cli.dist.place import Place, find_meeting_point, find_place, was_restarted
from vit_cli.dist.world import World, join_world
from vit_cli.errors import UsageError

CPU = torch.device("cpu")

WORKER = """
import json, os, torch
from torch import nn
from vit_cli.dist.world import join_world

world = join_world("cpu")
model = nn.Linear(1, 1, bias=False)
nn.init.constant_(model.weight, float(world.rank))  # wrapping gives all processes the first one's weights
wrapped = world.wrap(model)
batches = [torch.full((1, 1), 1.0 + world.rank), torch.full((1, 1), 10.0 + world.rank)]
held = []
for number, batch in enumerate(batches):
    with world.hold_back(wrapped, held=number == 0):
        wrapped(batch).sum().backward()
    held.append(model.weight.grad.item())
tensor = torch.tensor([1.0, 10.0 ** world.rank])
facts = {
    "is_first": world.is_first,
    "sum": world.sum(tensor).tolist(),
    "in_place": tensor.tolist(),
    "gather": world.gather({"rank": world.rank}),
    "share": world.share(f"from {world.rank}"),
    "mean": world.mean(torch.tensor([1.0, 4.0 * world.rank])).tolist(),
    "any": [world.any(False), world.any(world.rank == 1)],
    "max": world.max(torch.tensor([1.0, float(world.rank)])).tolist(),
    "other": [world.find_other("same"), world.find_other(world.rank)],
    "weight": model.weight.item(),
    "held": held,
    "names": list(model.state_dict()),
}
world.barrier()
world.leave()
world.leave()
print(json.dumps(facts), flush=True)
os._exit(0)  # as cli/main.py does: at its end torch's gloo now and then aborts a process
"""


@pytest.mark.slow
def test_two_processes_add_up_gather_share_and_agree() -> None:
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::FutureWarning", "-c", WORKER],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    first, second = (json.loads(answer.splitlines()[-1]) for answer in answers)
    assert (first.pop("is_first"), second.pop("is_first")) == (True, False)
    # The first backward stays at home (1 and 2); the second averages all that was gathered: (1 + 10 + 2 + 11) / 2.
    assert (first.pop("held"), second.pop("held")) == ([1.0, 12.0], [2.0, 12.0])
    assert first == second
    assert first["sum"] == first["in_place"] == [2.0, 11.0]
    assert first["gather"] == [{"rank": 0}, {"rank": 1}]
    assert first["share"] == "from 0"
    assert first["mean"] == [1.0, 2.0]
    assert first["any"] == [False, True]
    assert first["max"] == [1.0, 1.0]
    assert first["other"] == [None, 1]
    assert first["weight"] == 0.0
    assert first["names"] == ["weight"]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return join_world("cpu")


def test_a_process_without_a_launcher_is_the_only_one(alone: World) -> None:
    assert alone == World(0, 1, CPU)
    assert alone.is_first
    assert not torch.distributed.is_initialized()


def test_a_world_of_one_does_nothing(alone: World) -> None:
    model, tensor, value = nn.Linear(1, 1), torch.ones(2), object()
    assert alone.wrap(model) is model
    assert isinstance(alone.hold_back(model, held=True), nullcontext)
    assert alone.sum(tensor) is tensor
    assert tensor.tolist() == [1.0, 1.0]
    assert alone.gather(value) == [value]
    assert alone.share(value) is value
    assert alone.mean(tensor).tolist() == [1.0, 1.0]
    assert [alone.any(True), alone.any(False)] == [True, False]
    alone.barrier()
    alone.leave()


@pytest.mark.parametrize(
    ("gpus", "devices", "count"),
    [
        (0, "auto", 1),
        (0, "cpu", 1),
        (0, "1", 1),
        (0, "4", 4),
        (2, "auto", 2),
        (2, "2", 2),
        (2, "cpu", 1),
        (2, "0,1", 2),
    ],
)
def test_processes_are_counted(monkeypatch: pytest.MonkeyPatch, gpus: int, devices: str, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert count_processes(devices) == count


@pytest.mark.parametrize("devices", ["0", "3", "0,1,2", "1,1", "gpu", "a,b", ""])
def test_devices_that_are_not_there_are_refused_before_anything_is_launched(
    monkeypatch: pytest.MonkeyPatch, devices: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError):
        count_processes(devices)


LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "1234567"}

Fill = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Set these variables, and no others of a launcher or of Slurm."""
    for name in [*LAUNCHERS, *(name for name in os.environ if name.startswith("SLURM_"))]:
        monkeypatch.delenv(name, raising=False)

    def fill(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return fill


@pytest.mark.parametrize(
    ("nodes", "address"),
    [("gpu[07-08,11]", "gpu07"), ("a1,a2", "a1"), ("node-3", "node-3"), ("r1n[2,5]", "r1n2")],
)
def test_processes_of_slurm_find_each_other(environment: Fill, nodes: str, address: str) -> None:
    environment(**SLURM, SLURM_STEP_NODELIST=nodes)
    assert find_place() == Place(5, 8, 1)
    assert find_meeting_point() == {"MASTER_ADDR": address, "MASTER_PORT": "24567"}
    environment(MASTER_ADDR="10.0.0.1", MASTER_PORT="29500")
    assert find_meeting_point() == {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def test_a_process_of_slurm_with_a_gpu_of_its_own_takes_it(environment: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(**SLURM)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_place() == Place(5, 8, 0)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},  # an interactive shell
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # a batch script, outside srun
        {"WORLD_SIZE": "1", "RANK": "0"},
    ],
)
def test_a_process_that_nobody_joins_is_alone(environment: Fill, variables: dict[str, str]) -> None:
    environment(**variables)
    assert join_world("cpu") == World(0, 1, CPU)


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "2"},
        {"RANK": "0"},
        {"WORLD_SIZE": "two", "RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "2"},
        {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "-1"},
        {"WORLD_SIZE": "2", "RANK": "0"},  # no MASTER_ADDR
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"},
        SLURM | {"SLURM_PROCID": ""},
        SLURM,  # no machines
    ],
)
def test_a_launcher_that_says_too_little_is_refused(environment: Fill, variables: dict[str, str]) -> None:
    environment(**variables)
    with pytest.raises(UsageError):
        join_world("cpu")


@pytest.mark.parametrize("name", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_second_start_by_the_launcher_is_told_from_the_first(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert not was_restarted()
    monkeypatch.setenv(name, "0")
    assert not was_restarted()
    monkeypatch.setenv(name, "2")
    assert was_restarted()
