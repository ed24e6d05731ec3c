"""The hybrid's ResNet against a plain reference of Google's code in numpy, and against timm's."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from timm.layers import StdConv2dSame
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from vit_cli.models.backbone import BACKBONES, Backbone, StdConv, StdResNet, pad_as_tensorflow

Array = NDArray[np.float64]


def shake(network: nn.Module) -> nn.Module:
    """Move weights away from their zeros and ones, so that every one matters."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return network


def windows(x: Array, kernel: int, stride: int, fill: float) -> Array:
    """(rows, columns, c) -> (ceil(rows / stride), ceil(columns / stride), kernel, kernel, c), as TensorFlow's SAME cuts them."""
    cells = []
    for side in x.shape[:2]:
        count = -(-side // stride)
        before = max((count - 1) * stride + kernel - side, 0) // 2
        cells.append(np.arange(count)[:, None] * stride - before + np.arange(kernel))
    rows, columns = (
        np.where((cell >= 0) & (cell < side), cell, -1) for cell, side in zip(cells, x.shape, strict=False)
    )
    framed = np.full((x.shape[0] + 1, x.shape[1] + 1, x.shape[2]), fill)
    framed[:-1, :-1] = x  # an index of -1 meets the frame
    return framed[rows[:, None, :, None], columns[None, :, None, :]]


def convolve(x: Array, layer: StdConv) -> Array:
    """What vit_jax's StdConv does: kernels of mean 0, divided by their deviation + 1e-5."""
    kernel = layer.weight.detach().numpy().transpose(2, 3, 1, 0)  # as flax has them: rows, columns, inputs, outputs
    kernel = kernel - kernel.mean(axis=(0, 1, 2))
    kernel = kernel / (kernel.std(axis=(0, 1, 2)) + 1e-5)
    return np.einsum("ijklc,klco->ijo", windows(x, layer.kernel_size[0], layer.stride[0], 0.0), kernel)


def normalise(x: Array, layer: nn.GroupNorm) -> Array:
    """flax's GroupNorm: 32 groups, epsilon 1e-6."""
    groups = x.reshape(*x.shape[:2], 32, -1)
    mean, var = groups.mean(axis=(0, 1, 3), keepdims=True), groups.var(axis=(0, 1, 3), keepdims=True)
    return ((groups - mean) / np.sqrt(var + 1e-6)).reshape(
        x.shape
    ) * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def forward_by_google(network: StdResNet, image: Tensor) -> Array:
    """vit_jax's root and units, for one image (3, rows, columns) -> (rows, columns, channels)."""
    relu = partial(np.maximum, 0.0)
    x = image.numpy().transpose(1, 2, 0)
    x = windows(relu(normalise(convolve(x, network.root.conv), network.root.norm)), 3, 2, -np.inf).max(axis=(2, 3))
    for unit in (unit for stage in network.stages for unit in stage):
        y = relu(normalise(convolve(x, unit.conv1), unit.norm1))
        y = relu(normalise(convolve(y, unit.conv2), unit.norm2))
        y = normalise(convolve(y, unit.conv3), unit.norm3)
        past = (
            x
            if isinstance(unit.shortcut, nn.Identity)
            else normalise(convolve(x, unit.shortcut.conv), unit.shortcut.norm)
        )
        x = relu(past + y)
    return x


@pytest.mark.parametrize("res", [(32, 48), (37, 50)])  # even padding and uneven
@pytest.mark.parametrize("blocks", [(), (2,), (1, 2)])
def test_the_feature_map_is_that_of_googles_code(blocks: tuple[int, ...], res: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = shake(Backbone(blocks=blocks, width=32).build("flax")).double()
    image = torch.randn(3, *res, dtype=torch.float64)
    ours = network(image[None])[0].permute(1, 2, 0).detach().numpy()
    np.testing.assert_allclose(ours, forward_by_google(network, image), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("res", [(64, 96), (70, 90)])
def test_the_feature_map_is_that_of_timm(res: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = shake(Backbone(blocks=(1, 2)).build("timm"))
    theirs = ResNetV2(
        layers=[1, 2],
        channels=(256, 512),
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=partial(StdConv2dSame, eps=1e-8),
    )
    theirs.load_state_dict({to_timm(name): weight for name, weight in ours.state_dict().items()})
    images = torch.randn(2, 3, *res, dtype=torch.float64)  # in float32 other small constants would not show
    torch.testing.assert_close(ours.double()(images), theirs.double()(images), rtol=1e-9, atol=1e-9)


def to_timm(name: str) -> str:
    """The name of a backbone's weight at timm."""
    stage, _, rest = name.removeprefix("stages.").partition(".")
    name = f"stages.{stage}.blocks.{rest}" if name.startswith("stages.") else name
    return name.replace("root.", "stem.").replace("shortcut.", "downsample.")


def test_conventions_differ_in_their_small_constants_only() -> None:
    torch.manual_seed(0)
    google, timm = (Backbone(blocks=(1,), width=32).build(convention) for convention in ("flax", "timm"))
    timm.load_state_dict(google.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(google(x), timm(x))
    torch.testing.assert_close(google(x), timm(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("convention", ["flax", "timm"])
def test_standardised_kernels_have_mean_0_and_deviation_1_whatever_their_scale(convention: str) -> None:
    torch.manual_seed(0)
    layer = StdConv(8, 5, 3, convention=convention)
    with torch.no_grad():
        layer.weight.mul_(100).add_(7)
    kernels = layer.standardised().flatten(1)
    torch.testing.assert_close(kernels.mean(dim=1), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(kernels.std(dim=1, correction=0), torch.ones(5))


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "before", "after"),
    [(224, 7, 2, 2, 3), (112, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 3, 1, 1, 1), (9, 1, 2, 0, 0), (10, 7, 2, 2, 3)],
)  # TensorFlow's guide to padding: the end gets the larger part
def test_padding_is_tensorflows(side: int, kernel: int, stride: int, before: int, after: int) -> None:
    x, (rows, columns) = pad_as_tensorflow(torch.ones(1, 1, side, side), kernel, stride)
    extra = after - before
    assert (rows, columns) == (before, before)
    assert x.shape == (1, 1, side + extra, side + extra)
    assert x[0, 0, :side, :side].all()
    assert not x[0, 0, side:].any()


def test_a_unit_starts_as_its_shortcut() -> None:
    torch.manual_seed(0)
    network = Backbone(blocks=(2,), width=32).build("flax")
    first, second = network.stages[0]
    x = torch.randn(2, 32, 6, 6).relu()
    widened = first(x)
    torch.testing.assert_close(widened, first.shortcut(x).relu())
    assert torch.equal(second(widened), widened)


def test_first_kernels_are_lecun_normal() -> None:
    torch.manual_seed(0)
    weight = StdConv(64, 256, 3).weight
    deviation = (64 * 9) ** -0.5
    assert weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert weight.abs().max().item() <= 2 * deviation / 0.87962 + 1e-6


@pytest.mark.parametrize(
    ("name", "stride", "channels", "parameters"),
    [
        ("r50_16", 16, 1024, 11_894_848),
        ("r26_32", 32, 2048, 13_946_176),
        ("r50_32", 32, 2048, 23_508_032),
        ("stem", 4, 64, 7 * 7 * 3 * 64 + 2 * 64),
    ],
)
def test_backbones_are_those_of_the_papers(name: str, stride: int, channels: int, parameters: int) -> None:
    with torch.device("meta"):
        network = BACKBONES[name].build("flax")
        features = network(torch.empty(1, 3, 64, 96))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert BACKBONES[name].stride == stride
    assert network.channels == channels
    assert features.shape == (1, channels, 64 // stride, 96 // stride)


def test_a_width_that_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 32"):
        Backbone(blocks=(1,), width=48)
