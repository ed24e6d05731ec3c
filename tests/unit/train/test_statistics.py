"""Running statistics: nothing without buffers, untouched by a skipped step, and equal on two real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.unit.dist.conftest import free_port
from vit_cli.dist.world import World
from vit_cli.models.vit import Vit
from vit_cli.train.statistics import NoStatistics, RunningStatistics, find_statistics

ALONE = World(0, 1, torch.device("cpu"))

WORKER = """
import json, os, torch
from torch import nn
from vit_cli.dist.world import join_world
from vit_cli.train.statistics import find_statistics

world = join_world("cpu")
model = nn.BatchNorm1d(2)
statistics = find_statistics(model, world)
found = []
for skipped in (0.0, 1.0, 0.0):
    statistics.keep()
    rows = torch.tensor([[0.0, 1.0], [2.0, 5.0]]) + 10 * world.rank
    model(rows * (float("nan") if skipped and world.rank else 1.0))
    statistics.settle(torch.tensor(skipped))
    found.append([model.running_mean.tolist(), model.running_var.tolist(), model.num_batches_tracked.item()])
world.leave()
print(json.dumps(found), flush=True)
os._exit(0)  # as cli/main.py does: at its end torch's gloo now and then aborts a process
"""


def test_a_model_whose_buffers_are_fixed_has_no_statistics() -> None:
    model = Vit(width=8, depth=1, heads=2, patch=4, res=8, positions="sincos2d").build(2)
    assert list(model.buffers())
    assert isinstance(find_statistics(model, ALONE), NoStatistics)


def make() -> tuple[nn.Module, RunningStatistics]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2)).train()
    statistics = find_statistics(model, ALONE)
    assert isinstance(statistics, RunningStatistics)
    return model, statistics


def copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("broken", [1.0, float("nan"), float("inf")])
def test_a_skipped_step_leaves_every_bit_as_it_was(broken: float) -> None:
    model, statistics = make()
    model(torch.randn(2, 3, 8, 8))
    before = copy(model)
    statistics.keep()
    model(torch.randn(2, 3, 8, 8) * broken)
    model(torch.randn(2, 3, 8, 8))
    assert not any(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    statistics.settle(skipped=torch.ones(()))
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


def test_alone_a_step_is_what_torch_does_micro_batch_by_micro_batch() -> None:
    model, statistics = make()
    plain, _ = make()
    for images in (torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)):
        statistics.keep()
        for part in images.split(1):
            model(part)
            plain(part)
        statistics.settle(skipped=torch.zeros(()))
    expected = copy(plain)
    assert all(torch.equal(expected[name], buffer) for name, buffer in model.named_buffers())
    assert model[1].num_batches_tracked == 4


@pytest.mark.slow
def test_two_processes_go_on_with_the_mean_and_skip_together() -> None:
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    first, second = (json.loads(answer.splitlines()[-1]) for answer in answers)
    assert first == second
    taken, skipped, again = first
    # Means of columns: 1 and 3 on the first process, 11 and 13 on the second; variances: 2 and 8 on both.
    assert taken[0] == pytest.approx([0.1 * 6, 0.1 * 8])
    assert taken[1] == pytest.approx([0.9 + 0.1 * 2, 0.9 + 0.1 * 8])
    assert skipped == taken
    assert again[0] == pytest.approx([0.9 * 0.6 + 0.1 * 6, 0.9 * 0.8 + 0.1 * 8])
    assert [taken[2], again[2]] == [1, 2]
