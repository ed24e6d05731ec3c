"""What two real processes do in parts is what they do whole, and what one does alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.dist.conftest import free_port
from vit_cli.dist.shard import copy_whole, find_blocks, is_sharded, part, part_all, part_moments, whole
from vit_cli.models.vit import Vit
from vit_cli.optim.optimizer import AdamW, Lamb, Sgd

OPTIMIZERS = ("adamw", "sgd", "lamb")

WORKER = """
import json, os, sys
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from vit_cli.checkpoint.file import read_checkpoint, write_checkpoint
from vit_cli.device import seed_all
from vit_cli.dist.shard import copy_whole, is_sharded, part_all, part_moments, shard_model, update, whole
from vit_cli.dist.world import join_world
from vit_cli.models.adapt import load_weights
from vit_cli.models.vit import Vit
from vit_cli.optim.clip import Clip
from vit_cli.optim.ema import Ema
from vit_cli.optim.groups import make_groups
from vit_cli.optim.optimizer import AdamW, Lamb, Sgd
from vit_cli.optim.penalty import L1

folder, world = Path(sys.argv[1]), join_world("cpu")
SECTION = Vit(width=16, depth=2, heads=2, patch=4, res=8)
OPTIMIZERS = {"adamw": AdamW(lr=1e-2), "sgd": Sgd(lr=1e-1, weight_decay=1e-3), "lamb": Lamb(lr=1e-2)}


def build(seed=0):
    seed_all(seed)
    model = SECTION.build(classes=5)
    for parameter in model.parameters():  # the head starts at zero, and would hide the rest
        nn.init.normal_(parameter, std=0.2)
    return model


def draw(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randint(5, (8,), generator=generator)


class Job:
    def __init__(self, name, how, seed=0):
        section, self.how = OPTIMIZERS[name], how
        self.model = build(seed)
        if how == "parted":
            shard_model(self.model)
        self.wrapped = world.wrap(self.model) if how == "ddp" else self.model
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = section.build(
            make_groups(
                self.parameters.items(),
                weight_decay=section.weight_decay,
                layer_decay=section.layer_decay,
                decays=self.model.decays,
                layer_of=self.model.layer_of,
                layers=self.model.layers,
            )
        )
        self.clip, self.ema = Clip(0.1), Ema(self.parameters.items(), 0.9, warmup=True)
        self.penalty = L1([p for n, p in self.parameters.items() if self.model.decays(n, p)], 1e-3)

    def loss(self, rows, step, poison=1.0):
        images, labels = draw(step)
        images, labels = (images, labels) if self.how == "alone" else (images[rows], labels[rows])
        return nn.functional.cross_entropy(self.wrapped(images * poison), labels)

    def step(self, step, poison=1.0):
        loss = self.loss(slice(4 * world.rank, 4 * world.rank + 4), step, poison)
        loss.backward()
        total = loss.detach() + whole(self.penalty())
        grad_norm = whole(self.clip(list(self.parameters.values())))
        skipped = (~(total.isfinite() & grad_norm.isfinite())).float()
        if self.how != "alone":
            world.mean(total)
            skipped = world.sum(skipped).clamp(max=1)
        self.optimizer.found_inf = skipped
        update(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.ema.weight_at(step), skipped)
        return [total.item(), grad_norm.item()]

    def run(self, first, last):
        return [self.step(step) for step in range(first, last)]

    def content(self):
        return {"model": self.model.state_dict(), "ema": self.ema.state(), "optimizer": self.optimizer.state_dict()}

    def save(self, name):
        content = copy_whole(self.content(), keeps=world.is_first)
        if world.is_first:
            write_checkpoint(folder / name, content)
        world.barrier()
        read = read_checkpoint(folder / name)
        return {key: read[key] for key in content}

    def copy(self):
        return copy_whole(self.content(), keeps=True)

    def load(self, content):
        load_weights(self.model, part_all(content["model"], self.model.state_dict()))
        self.ema.load(part_all(content["ema"], self.ema.state()))
        saved = copy_whole(content["optimizer"], keeps=True)  # else the optimiser goes on in the very tensors that it is given
        self.optimizer.load_state_dict(part_moments(saved, self.optimizer))
        return self


def gap(one, other):
    if isinstance(one, torch.Tensor):
        assert one.shape == other.shape and one.dtype == other.dtype and type(one) is type(other) is torch.Tensor
        return 0.0 if torch.equal(one, other) else (one - other).abs().max().nan_to_num(1e9).item()
    if isinstance(one, dict):
        assert list(one) == list(other)
        return max([gap(one[key], other[key]) for key in one], default=0.0)
    if isinstance(one, (list, tuple)):
        return max([gap(a, b) for a, b in zip(one, other, strict=True)], default=0.0)
    return 0.0 if one == other else abs(one - other)


def go_straight(name):
    ddp, parted = Job(name, "ddp"), Job(name, "parted")
    curves = ddp.run(0, 10), parted.run(0, 10)
    end, before = parted.save(f"{name}.pt"), parted.copy()
    norm = parted.step(10, poison=float("nan") if world.rank == 1 else 1.0)[1]
    facts = {
        "curves": gap(*curves),
        "weights": gap(ddp.copy()["model"], end["model"]),
        "clips": min(norm for _, norm in curves[0]) > 0.1,
        "moves": gap(end["model"], copy_whole(build().state_dict(), keeps=True)) > 1e-2,
        "poisoned": norm != norm,
        "skipped": gap(before, parted.copy()),
    }
    late = Job(name, "parted")
    late.step(0, poison=float("inf") if world.rank == 0 else 1.0)  # torch has nothing to skip to before the first step
    return facts | {"late": gap(late.run(0, 10), curves[1])}, end


def resume(name, end):
    ddp, parted = Job(name, "ddp"), Job(name, "parted")
    ddp.run(0, 5), parted.run(0, 5)
    from_ddp, from_parted = ddp.save(f"{name}.ddp.pt"), parted.save(f"{name}.parted.pt")
    facts = {}
    for how, saved in (("parted", from_parted), ("parted", from_ddp), ("ddp", from_parted), ("alone", from_parted)):
        job = Job(name, how, seed=1).load(saved)
        label = f"{'parted' if saved is from_parted else 'ddp'} to {how}"
        facts[f"{label}: loaded"] = gap(job.copy(), saved)
        job.run(5, 10)
        facts[f"{label}: end"] = gap(job.copy()["model"], end["model"])
        facts[f"{label}: all of the end"] = gap(job.copy(), end)
    return facts


def follow(name):
    straight, end = go_straight(name)
    return {"straight": straight, "resume": resume(name, end)}


def judge():
    images = draw(3)[0]
    model, alone = build(), build().eval()
    shard_model(model)
    model.eval()
    with torch.inference_mode():  # before the first step; three batches on one process, two on the other
        mine = images[:6] if world.is_first else images[6:]
        logits = [model(batch) for batch in (mine[:2], mine[2:4], mine[4:])]
        expected = alone(images[:6] if world.is_first else images[6:])
        gaps = {"judged": gap(torch.cat(logits), expected), "empty": list(model(images[:0]).shape)}
    gaps["parted_after"] = all(isinstance(parameter, DTensor) for parameter in model.parameters())
    ema = Ema(model.named_parameters(), 0.5, warmup=False)
    before = copy_whole(model.state_dict(), keeps=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    ema.update(ema.weight_at(0), torch.zeros(()))
    moved = copy_whole(model.state_dict(), keeps=True)
    with ema.swapped(model):
        gaps["swapped"] = gap(copy_whole(model.state_dict(), keeps=True), copy_whole(ema.state(), keeps=True))
        gaps["average"] = gap(copy_whole(ema.state(), keeps=True), {key: value + 0.5 for key, value in before.items()})
    gaps["swapped_back"] = gap(copy_whole(model.state_dict(), keeps=True), moved)
    model.train()
    model(images).sum().backward()  # training goes on after an evaluation
    gaps["gradients"] = all(isinstance(parameter.grad, DTensor) for parameter in model.parameters())
    return gaps


def gather_gradients():
    model = build()
    shard_model(model)
    images, labels = draw(4)
    for number in range(2):
        rows = slice(4 * world.rank + 2 * number, 4 * world.rank + 2 * number + 2)
        with world.hold_back(model, held=number == 0):
            (nn.functional.cross_entropy(model(images[rows]), labels[rows]) / 2).backward()
    return {name: whole(parameter.grad) for name, parameter in model.named_parameters()}


def compare_gradients():
    alone = build()
    images, labels = draw(4)
    nn.functional.cross_entropy(alone(images), labels).backward()
    expected = {name: parameter.grad for name, parameter in alone.named_parameters()}
    compiled = build()
    shard_model(compiled)
    rows = slice(4 * world.rank, 4 * world.rank + 4)
    nn.functional.cross_entropy(torch.compile(compiled, backend="aot_eager")(images[rows]), labels[rows]).backward()
    return {
        "micro_batches": gap(gather_gradients(), expected),
        "compiled": gap({name: whole(parameter.grad) for name, parameter in compiled.named_parameters()}, expected),
    }


def count():
    model, first = build(seed=world.rank), build(seed=0)
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    shard_model(model)
    return {
        "first": gap(copy_whole(model.state_dict(), keeps=True), dict(first.state_dict())),
        "shapes": shapes == {name: list(parameter.shape) for name, parameter in model.named_parameters()},
        "share": sum(p.to_local().numel() for p in model.parameters()) / sum(p.numel() for p in model.parameters()),
        "sharded": [is_sharded(model), is_sharded(first)],
        "held_bytes": max(tensor.untyped_storage().nbytes() - 4 * tensor.numel()
            for tensor in (part.to_local() for part in part_all(first.state_dict(), model.state_dict()).values())),
        "not_kept": sum(tensor.numel() for tensor in copy_whole(model.state_dict(), keeps=False).values()),
    }


facts = {name: follow(name) for name in OPTIMIZERS}
facts |= {"judge": judge(), "gradients": compare_gradients(), "count": count()}
world.barrier()
world.leave()
print(json.dumps(facts), flush=True)
os._exit(0)  # as cli/main.py does: at its end torch's gloo now and then aborts a process
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found out."""
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    folder = tmp_path_factory.mktemp("shared")
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::FutureWarning", "-c", WORKER, str(folder)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_in_parts_follows_training_as_a_whole(facts: list[dict[str, Any]], name: str) -> None:
    for found in (process[name]["straight"] for process in facts):
        assert found["curves"] < 1e-5  # losses and gradient norms of ten steps, beside DDP
        assert found["weights"] < 1e-4
        assert found["clips"]
        assert found["moves"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_not_finite_on_one_process_changes_nothing_on_any(
    facts: list[dict[str, Any]], name: str
) -> None:
    for found in (process[name]["straight"] for process in facts):
        assert found["poisoned"]
        assert found["skipped"] == 0
        assert found["late"] == 0  # also if it is the first of all


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_ends_bit_for_bit_as_an_undisturbed_one(facts: list[dict[str, Any]], name: str) -> None:
    for found in (process[name]["resume"] for process in facts):
        assert found["parted to parted: loaded"] == 0
        assert found["parted to parted: all of the end"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_checkpoint_goes_from_parts_to_a_whole_and_back(facts: list[dict[str, Any]], name: str) -> None:
    for found in (process[name]["resume"] for process in facts):
        for way in ("ddp to parted", "parted to ddp", "parted to alone"):
            assert found[f"{way}: loaded"] == 0, way
            assert found[f"{way}: end"] < 1e-4, way


@pytest.mark.slow
def test_a_model_in_parts_is_judged_before_its_first_step_and_trained_after_it(facts: list[dict[str, Any]]) -> None:
    for found in (process["judge"] for process in facts):
        assert found["judged"] < 1e-5
        assert found["empty"] == [0, 5]  # so that a process with fewer batches can take part to the end
        assert found["parted_after"]
        assert found["gradients"]


@pytest.mark.slow
def test_averages_take_the_place_of_weights_in_parts(facts: list[dict[str, Any]]) -> None:
    for found in (process["judge"] for process in facts):
        assert found["average"] < 1e-6
        assert found["swapped"] == found["swapped_back"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["micro_batches", "compiled"])
def test_gradients_are_those_of_the_whole_batch(facts: list[dict[str, Any]], how: str) -> None:
    assert [process["gradients"][how] < 1e-6 for process in facts] == [True, True]


@pytest.mark.slow
def test_each_process_has_its_part_of_the_first_ones_weights(facts: list[dict[str, Any]]) -> None:
    for found in (process["count"] for process in facts):
        assert found["first"] == 0
        assert found["shapes"]
        assert found["share"] < 0.6
        assert found["sharded"] == [True, False]
        assert found["held_bytes"] == 0  # a part holds on to no whole
        assert found["not_kept"] == 0


def test_blocks_are_the_members_of_lists() -> None:
    vit = Vit(width=8, depth=3, heads=2, patch=4, res=8, pool="map").build(2)
    assert list(find_blocks(vit)) == list(vit.blocks)
    inner = nn.Sequential(nn.Linear(1, 1), nn.GELU())
    block = nn.Module()
    block.layers = nn.ModuleList([nn.Linear(1, 1)])
    stages = nn.ModuleDict({"stages": nn.Sequential(inner, block), "head": nn.Linear(1, 1)})
    assert list(find_blocks(stages)) == [inner[0], block]


def test_plain_tensors_stay_whole() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    model = nn.Linear(3, 2)
    assert not is_sharded(model)
    assert whole(weight) is weight
    assert part(weight, like=model.weight) is weight
    assert part_all({"weight": weight, "other": weight}, like=model.state_dict()) == {"weight": weight, "other": weight}


def test_a_copy_in_host_memory_is_no_view() -> None:
    weight = nn.Parameter(torch.ones(2))
    copied = copy_whole({"a": [weight, (1, "x", None)], 0: {}}, keeps=True)
    with torch.no_grad():
        weight.add_(1)
    assert copied == {"a": [copied["a"][0], (1, "x", None)], 0: {}}
    assert copied["a"][0].tolist() == [1, 1]
    assert not copied["a"][0].requires_grad
    assert copy_whole({"a": weight, "step": 3}, keeps=False)["a"].numel() == 0


@pytest.mark.parametrize("section", [AdamW(), Sgd(), Lamb()], ids=OPTIMIZERS)
def test_moments_of_plain_parameters_stay_as_they_were_saved(section: AdamW | Sgd | Lamb) -> None:
    model = nn.Linear(3, 2)
    optimizer = section.build(
        [{"params": list(model.parameters()), "weight_decay": 0.1, "lr_scale": 1.0, "name": "all"}]
    )
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    fitted = part_moments(saved, optimizer)
    assert fitted["param_groups"] is saved["param_groups"]
    assert saved["state"]
    for number, values in saved["state"].items():
        assert fitted["state"][number].keys() == values.keys()
        assert all(fitted["state"][number][key] is value for key, value in values.items())
