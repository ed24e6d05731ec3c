"""A trained network of torchvision's, to learn from."""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import Field, PositiveFloat, field_validator
from torch import nn

from vit_cli.section import DataPath, Section


class TorchvisionTeacher(Section):
    """A classification model of torchvision by name, with weights from a file; nothing is downloaded."""

    name: Literal["torchvision"] = "torchvision"
    model: str = Field(description="torchvision's name for it, such as regnet_y_16gf")
    weights: DataPath = Field(description="its weights: a .pth or .safetensors file")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="what it was trained with; ImageNet's")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field((0.229, 0.224, 0.225), description="divides then")

    @field_validator("model")
    @classmethod
    def model_is_known(cls, model: str) -> str:
        from torchvision import models  # takes seconds to import

        known = models.list_models(module=models)
        if model not in known:
            near = difflib.get_close_matches(model, known, n=3) or known[:3]
            raise ValueError(f"torchvision has no classification model '{model}'; the nearest are {', '.join(near)}")
        return model

    def build(self, classes: int) -> nn.Module:
        """Make the network; its weights are to be loaded."""
        from torchvision.models import get_model

        network: nn.Module = get_model(self.model, weights=None, num_classes=classes)
        return network
