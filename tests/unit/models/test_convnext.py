"""The ConvNeXts against torchvision's, their published sizes, and torch's own flop counter."""

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
from torchvision.ops import StochasticDepth

from vit_cli.models.convnext import ConvNeXt, Convnext

TINY = {"blocks": (1, 2, 1), "width": 8, "res": (32, 52)}


def build(classes: int = 5, **changes: Any) -> ConvNeXt:
    """A tiny model, moved away from its zeros so that every weight matters."""
    torch.manual_seed(0)
    model = Convnext(**TINY | changes).build(classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def images(count: int = 2, res: tuple[int, int] = (32, 52)) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_names_shapes_parameters_and_operations_are_those_that_torchvision_publishes(size: str) -> None:
    with torch.device("meta"):
        model, peer = Convnext(size=size).build(1000), torchvision.models.get_model(f"convnext_{size}")
    published = torchvision.models.get_model_weights(f"convnext_{size}").DEFAULT.meta
    assert sum(parameter.numel() for parameter in model.parameters()) == published["num_params"]
    assert model.flops() / 2e9 == pytest.approx(published["_ops"], abs=1e-3)
    assert model.tokens == 49
    shapes = {name: tensor.shape for name, tensor in peer.state_dict().items()}
    assert {name.removeprefix("network."): tensor.shape for name, tensor in model.state_dict().items()} == shapes


@pytest.mark.slow
def test_logits_are_those_of_torchvision() -> None:
    torch.manual_seed(0)
    peer = torchvision.models.convnext_tiny(num_classes=5).eval()
    model = Convnext(res=(64, 96)).build(5).eval()
    model.load_state_dict({f"network.{name}": tensor for name, tensor in peer.state_dict().items()})
    x = images(res=(64, 96))
    with torch.no_grad():
        assert torch.equal(model(x), peer(x))


def test_the_first_loss_is_ln_k() -> None:
    torch.manual_seed(0)
    logits = Convnext(**TINY).build(7)(images())
    assert F.cross_entropy(logits, torch.tensor([0, 3])).item() == pytest.approx(math.log(7), rel=1e-6)


def test_drop_path_grows_linearly_and_layer_scale_starts_as_asked() -> None:
    torch.manual_seed(0)
    model = Convnext(**TINY, drop_path=0.3, layer_scale=1e-3).build(5)
    assert [module.p for module in model.modules() if isinstance(module, StochasticDepth)] == pytest.approx(
        [0, 0.1, 0.2, 0.3]
    )
    scales = [parameter for name, parameter in model.named_parameters() if name.endswith("layer_scale")]
    assert len(scales) == 4
    assert all((scale == 1e-3).all() for scale in scales)


@pytest.mark.parametrize("small_stem", [False, True])
def test_operations_are_what_torch_counts(small_stem: bool) -> None:
    model = build(small_stem=small_stem).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images(1))
    assert model.flops() == counter.get_total_flops()


@pytest.mark.parametrize(("small_stem", "cells"), [(False, 2 * 3), (True, 8 * 13)])
def test_tokens_are_the_cells_of_the_last_map(small_stem: bool, cells: int) -> None:
    model = build(small_stem=small_stem)
    assert model.tokens == cells == model.network.features(images()).flatten(2).shape[2]


def test_a_model_without_classes_gives_what_the_head_sees() -> None:
    model, headless = build().eval(), build(0).eval()
    kept = {name: t for name, t in model.state_dict().items() if not name.startswith(model.head_names)}
    headless.load_state_dict(kept)
    assert torch.equal(headless(images()), model.features(images()))
    torch.testing.assert_close(model(images()), model.network.classifier[2](model.features(images())))


def test_every_parameter_gets_a_gradient_and_has_the_layer_of_its_stage() -> None:
    model = build()
    model(images()).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.any()] == []
    layers: dict[int, set[str]] = {}
    for name, _ in model.named_parameters():
        layers.setdefault(model.layer_of(name), set()).add(".".join(name.split(".")[1:3]))
    stages = {1: {"features.1"}, 2: {"features.2", "features.3"}, 3: {"features.4", "features.5"}}
    assert layers == {0: {"features.0"}, **stages, 4: {"classifier.0", "classifier.2"}}
    assert model.layers == 4


def test_weight_decay_is_for_kernels_only() -> None:
    model = build()
    kernels = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {name for name, parameter in model.named_parameters() if model.decays(name, parameter)} == kernels


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"res": 31}, "it takes 32 pixels, or small_stem=true"),
        ({"res": 7, "small_stem": True}, "it takes 8 pixels, or fewer stages"),
        ({"blocks": (1,)}, "two blocks or more"),
        ({"size": "huge"}, "'tiny', 'small', 'base' or 'large'"),
        ({"layer_scale": 0.0}, "greater than 0"),
    ],
)
def test_a_convnext_that_does_not_hold_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Convnext(**fields)
