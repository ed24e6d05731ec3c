"""Which networks of torchvision's can teach."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from vit_cli.models.teacher import TorchvisionTeacher


@pytest.mark.slow
def test_the_published_teacher_of_deit_can_be_named() -> None:
    """RegNetY-16GF, 83.6 M parameters (torchvision's own table)."""
    network = TorchvisionTeacher(model="regnet_y_16gf", weights=Path("/weights.pth")).build(1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == 83_590_140


@pytest.mark.parametrize("name", ["resnet_18", "fasterrcnn_resnet50_fpn", "torch.load"])
def test_only_classification_models_can_be_named(name: str) -> None:
    with pytest.raises(ValidationError, match=f"no classification model '{name}'"):
        TorchvisionTeacher(model=name, weights=Path("/weights.pth"))
