"""The ResNets against torchvision's, their published sizes, and torch's own flop counter."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.errors import TrainingError
from vit_cli.models.resnet import ResNet, Resnet

pytestmark = pytest.mark.slow

TINY = {"size": 18, "blocks": (1, 2), "width": 8, "res": (20, 33)}
PUBLISHED = {
    "resnet18": {"size": 18},
    "resnet34": {"size": 34},
    "resnet50": {"size": 50},
    "resnet101": {"size": 101},
    "resnet152": {"size": 152},
    "resnext50_32x4d": {"size": 50, "groups": 32, "group_width": 4},
    "resnext101_64x4d": {"size": 101, "groups": 64, "group_width": 4},
    "wide_resnet50_2": {"size": 50, "group_width": 128},
}


def build(classes: int = 5, **changes: Any) -> ResNet:
    """A tiny model, moved away from its zeros so that every weight matters."""
    torch.manual_seed(0)
    model = Resnet(**TINY | changes).build(classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def images(count: int = 2, res: tuple[int, int] = (20, 33)) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


LARGE = ("resnet101", "resnet152", "resnext101_64x4d", "wide_resnet50_2")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in PUBLISHED])
def test_names_shapes_parameters_and_operations_are_those_that_torchvision_publishes(name: str) -> None:
    with torch.device("meta"):
        model, peer = Resnet(**PUBLISHED[name]).build(1000), torchvision.models.get_model(name)
    published = torchvision.models.get_model_weights(name).DEFAULT.meta
    assert sum(parameter.numel() for parameter in model.parameters()) == published["num_params"]
    assert model.flops() / 2e9 == pytest.approx(published["_ops"], abs=1e-3)
    shapes, expected = ({key: t.shape for key, t in network.state_dict().items()} for network in (model, peer))
    assert shapes == expected


@pytest.mark.parametrize(
    "name",
    ["resnet18", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "resnext50_32x4d"))],
)
@pytest.mark.parametrize("training", [False, True])
def test_logits_and_running_statistics_are_those_of_torchvision(name: str, training: bool) -> None:
    torch.manual_seed(0)
    peer = torchvision.models.get_model(name, num_classes=5).train(training)
    model = Resnet(**PUBLISHED[name], res=(64, 70)).build(5).train(training)
    model.load_state_dict(peer.state_dict())
    x = images(res=(64, 70))
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(x), rtol=1e-5, atol=1e-5)
    for name, tensor in peer.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-5, atol=1e-5)


def test_a_small_stem_makes_the_resnet_18_of_cifar_10() -> None:
    with torch.device("meta"):
        model = Resnet(size=18, small_stem=True, res=32).build(10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962  # of many public CIFAR-10 trainers
    assert model.tokens == 16


@pytest.mark.parametrize("size", [18, 50])
def test_the_first_loss_is_ln_k_and_every_block_starts_as_its_shortcut(size: int) -> None:
    torch.manual_seed(0)
    model = Resnet(**TINY | {"size": size}).build(7)
    assert F.cross_entropy(model(images()), torch.tensor([0, 3])).item() == pytest.approx(math.log(7), rel=1e-6)
    first, second = model.layer2
    x = torch.randn(2, 8 if size == 18 else 32, 6, 6).relu()
    torch.testing.assert_close(first(x), first.downsample(x).relu())
    assert torch.equal(second(first(x)), first(x))


def test_first_kernels_are_he_normal_by_their_outputs() -> None:
    torch.manual_seed(0)
    weight = Resnet(size=18, width=64, small_stem=True).build(2).layer4[0].conv1.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.01)


@pytest.mark.parametrize("small_stem", [False, True])
@pytest.mark.parametrize("size", [18, 50])
def test_operations_are_what_torch_counts(size: int, small_stem: bool) -> None:
    model = build(size=size, small_stem=small_stem).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images(1))
    assert model.flops() == counter.get_total_flops()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.bn1.num_batches_tracked == 0, "counting looks at shapes only"


@pytest.mark.parametrize(("small_stem", "cells"), [(False, 3 * 5), (True, 10 * 17)])
def test_tokens_are_the_cells_of_the_last_map(small_stem: bool, cells: int) -> None:
    model = build(small_stem=small_stem)
    x = model.maxpool(model.bn1(model.conv1(images())))
    assert model.tokens == cells == model.layer2(model.layer1(x)).flatten(2).shape[2]


def test_a_model_without_classes_gives_what_the_head_sees() -> None:
    model, headless = build().eval(), build(0).eval()
    headless.load_state_dict({name: t for name, t in model.state_dict().items() if not name.startswith("fc.")})
    assert torch.equal(headless(images()), model.features(images()))
    torch.testing.assert_close(model(images()), model.fc(model.features(images())))


def test_every_parameter_gets_a_gradient_and_has_the_layer_of_its_stage() -> None:
    model = build()
    model(images()).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []
    layers: dict[int, set[str]] = {}
    for name, _ in model.named_parameters():
        layers.setdefault(model.layer_of(name), set()).add(name.split(".")[0])
    assert layers == {0: {"conv1", "bn1"}, 1: {"layer1"}, 2: {"layer2"}, 3: {"fc"}}
    assert model.layers == 3


def test_weight_decay_is_for_kernels_only() -> None:
    model = build()
    kernels = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {name for name, parameter in model.named_parameters() if model.decays(name, parameter)} == kernels


def test_one_image_with_a_single_cell_can_be_judged_but_not_learned_from() -> None:
    model = build(res=4)
    with pytest.raises(TrainingError, match="can't learn from one image"):
        model(images(1, (4, 4)))
    assert model.eval()(images(1, (4, 4))).shape == (1, 5)
    assert model.train()(images(2, (4, 4))).shape == (2, 5)


def test_it_takes_any_resolution_and_has_no_positions() -> None:
    assert Resnet(res=(33, 47)).position_grids() == {}
    assert build().eval()(images(1, (41, 17))).shape == (1, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 20}, "18, 34, 50, 101 or 152"),
        ({"size": 18, "groups": 2}, "are for size 50 and more, not 18"),
        ({"size": 50, "width": 8, "group_width": 4}, "leaves no channel"),
        ({"blocks": ()}, "at least 1"),
        ({"depth": 3}, "Extra inputs"),
    ],
)
def test_a_resnet_that_does_not_hold_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Resnet(**fields)
