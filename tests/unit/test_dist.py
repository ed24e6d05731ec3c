"""One process that does nothing special, and two real ones that agree."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from vit_cli.dist import World, count_processes, join_world, launch_processes
from vit_cli.errors import UsageError

CPU = torch.device("cpu")

WORKER = """
import json, torch
from torch import nn
from vit_cli.dist import join_world

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
    "agree": [world.agree(False), world.agree(world.rank == 1), world.agree(True)],
    "weight": model.weight.item(),
    "held": held,
    "names": list(model.state_dict()),
}
world.barrier()
world.leave()
world.leave()
print(json.dumps(facts))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    assert first["agree"] == [False, True, True]
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
    assert [alone.agree(True), alone.agree(False)] == [True, False]
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


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have taken this process's place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append(command))
    monkeypatch.setattr(sys, "argv", ["vit", "train", "digits", "--devices", "2"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return commands


def test_several_processes_run_the_same_command_under_torchs_launcher(launched: list[list[str]]) -> None:
    launch_processes("2")
    [command] = launched
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert "--nproc-per-node=2" in command
    assert command[-6:] == ["-m", "vit_cli", "train", "digits", "--devices", "2"]


def test_one_process_or_a_launcher_that_was_there_first_launches_nothing(
    launched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch_processes("cpu")
    launch_processes("auto")
    monkeypatch.setenv("WORLD_SIZE", "2")
    launch_processes("2")
    assert launched == []
