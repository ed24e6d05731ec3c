"""torchvision's ResNets and ConvNeXts with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import convnext_tiny, resnet18
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from tests.unit.models.weights.built import build
from vit_cli.evaluate.open import open_weights

pytestmark = pytest.mark.slow


def shake(model: nn.Module) -> nn.Module:
    """Move all that training would: weights, and what BatchNorm counts."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.add_(torch.randn_like(tensor) * 0.05)
    return model.eval()


@torch.no_grad()
def agree(path: Path, model: nn.Module) -> dict[str, Any]:
    torch.save(model.state_dict(), path)
    saved = open_weights(path, changes=["model.res=64"])
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(build(saved)(images), model(images), atol=1e-5, rtol=1e-5)
    section: dict[str, Any] = saved.about["model"]
    return section


@pytest.mark.slow
def test_resnet18(tmp_path: Path) -> None:
    section = agree(tmp_path / "resnet.pth", shake(resnet18(num_classes=5)))
    assert (section["name"], section["size"], section["blocks"]) == ("resnet", 18, None)


@pytest.mark.parametrize(
    ("groups", "group_width"),
    [
        pytest.param(1, 64, id="plain", marks=pytest.mark.slow),
        pytest.param(4, 16, id="resnext"),
        pytest.param(1, 128, id="wide", marks=pytest.mark.slow),
    ],
)
def test_bottlenecks_of_any_groups(tmp_path: Path, groups: int, group_width: int) -> None:
    model = ResNet(Bottleneck, [1, 2, 1, 1], num_classes=5, groups=groups, width_per_group=group_width)
    section = agree(tmp_path / "resnet.pth", shake(model))
    assert (section["groups"], section["group_width"], section["blocks"]) == (groups, group_width, [1, 2, 1, 1])


def test_a_resnet_of_before_batches_were_counted(tmp_path: Path) -> None:
    model = shake(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5))
    weights = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    images = torch.randn(2, 3, 64, 64)
    saved = open_weights(tmp_path / "old.pth")
    torch.testing.assert_close(build(saved)(images), model(images), atol=1e-5, rtol=1e-5)


def test_convnext_of_any_size(tmp_path: Path) -> None:
    stages = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, 64, 2), CNBlockConfig(64, None, 1)]
    section = agree(tmp_path / "convnext.pth", shake(ConvNeXt(stages, num_classes=5)))
    assert (section["blocks"], section["width"]) == ([1, 2, 1], 16)


@pytest.mark.slow
def test_convnext_tiny_is_called_by_its_name(tmp_path: Path) -> None:
    section = agree(tmp_path / "convnext.pth", shake(convnext_tiny(num_classes=5)))
    assert (section["size"], section["blocks"]) == ("tiny", None)
