"""Random erasing: a rectangle of the image is painted over."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from vit_cli.augment.draws import PositiveRange, ShareRange, draw_box, draw_chance
from vit_cli.augment.same_size import SameSize
from vit_cli.section import Share


class RandomErasing(SameSize):
    """Paint over a random rectangle with probability `prob` (Zhong et al., 2020); DeiT takes 0.25. It comes last.

    `area` is its share of the image, `ratio` its columns over rows. `pixel` fills it with normal noise of `mean` and
    `std`, `const` with `mean`: of red, green and blue in 0..1. With ImageNet's, the defaults, these are timm's modes.
    """

    name: Literal["random_erasing"] = "random_erasing"
    prob: Share = 0.25
    area: ShareRange = (0.02, 1 / 3)
    ratio: PositiveRange = (0.3, 1 / 0.3)
    mode: Literal["pixel", "const"] = "pixel"
    mean: tuple[Share, Share, Share] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)

    def change(self, image: Tensor) -> Tensor:
        if not draw_chance(self.prob):
            return image
        h, w = image.shape[-2:]
        box = draw_box(h, w, self.area, self.ratio)
        if box is None:
            return image
        paint = 255 * torch.tensor(self.mean).view(3, 1, 1)
        if self.mode == "pixel":
            paint = paint + 255 * torch.tensor(self.std).view(3, 1, 1) * torch.randn(3, box.rows, box.columns)
        erased = image.clone()
        erased[:, box.top : box.top + box.rows, box.left : box.left + box.columns] = paint.round_().clamp_(0, 255)
        return erased
