"""Mixup and cutmix of whole batches on the device, drawn from (seed, step, position in the global batch)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from vit_cli.section import Duration, Section, Share

Floats = NDArray[np.float64]


def mix_group(batch_size: int) -> int:
    """Give how many consecutive positions of the global batch mix among themselves.

    2 if `batch_size` is even, else its smallest divisor of at least 3 (itself if prime). Processes and micro batches
    take whole groups.
    """
    if batch_size % 2 == 0:
        return 2
    return next((size for size in range(3, batch_size, 2) if batch_size % size == 0), batch_size)


class Mix(Section):
    """Mixing of images and labels: mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019).

    `mixup` and `cutmix` are the alphas of Beta(alpha, alpha), 0 for off. Every image has its own lambda and box. `prob`
    is the share of images that are mixed; of those, `switch_prob` is the share of cutmix when both are on. After
    `until` nothing is mixed.
    """

    mixup: NonNegativeFloat = Field(0.0, description="alpha of mixup; 0: off")
    cutmix: NonNegativeFloat = Field(0.0, description="alpha of cutmix; 0: off")
    prob: Share = Field(1.0, description="share of images that are mixed")
    switch_prob: Share = Field(0.5, description="share of cutmix among them, with both on")
    until: Duration | None = Field(None, description="when mixing ends")

    def build(self, seed: int, classes: int, batch_size: int, group: int, until_step: int) -> Mixer | NoMix:
        """Make the mixer of a run with a global batch of `batch_size`; from `until_step` on it mixes nothing."""
        if self.prob == 0 or not (self.mixup or self.cutmix):
            return NoMix()
        return Mixer(self, seed=seed, classes=classes, batch_size=batch_size, group=group, until_step=until_step)


class NoMix:
    """Leave batches as they are."""

    def __call__(self, images: Tensor, labels: Tensor, step: int, first: int) -> tuple[Tensor, Tensor]:
        del step, first
        return images, labels


class Draws(NamedTuple):
    """How the images of a step are mixed, one entry for each position of the global batch.

    Outside its box a mixed image is `keep` of itself and 1 - `keep` of its partner; inside it is all partner. Of the
    whole, `share` is its own. Boxes are [top, bottom) x [left, right) in pixels.
    """

    keep: Floats
    share: Floats
    top: Floats
    bottom: Floats
    left: Floats
    right: Floats


class Mixer:
    """Mix each image with its right neighbour in its group (the last with the first)."""

    def __init__(self, mix: Mix, *, seed: int, classes: int, batch_size: int, group: int, until_step: int) -> None:
        if batch_size % group:
            raise ValueError(f"a batch of {batch_size} does not divide into groups of {group}.")
        self.mix = mix
        self.seed = seed
        self.classes = classes
        self.batch_size = batch_size
        self.group = group
        self.until_step = until_step

    def __call__(self, images: Tensor, labels: Tensor, step: int, first: int) -> tuple[Tensor, Tensor]:
        """Mix positions `first` ... of the global batch of a step; the arguments are left as they are.

        (b, 3, h, w) floats and (b,) class numbers -> images of the same shape and (b, classes) float32, whose rows add
        up to 1. Labels (b, classes), marks or numbers, are mixed as they are. Raises ValueError if the positions are not
        whole groups.
        """
        size, (h, w) = len(images), images.shape[-2:]
        if first % self.group or size % self.group or first + size > self.batch_size:
            here = f"positions {first} to {first + size} of {self.batch_size}"
            raise ValueError(f"{here} are not whole groups of {self.group}.")
        table = torch.from_numpy(np.stack(self.draw(step, h, w))[:, first : first + size].astype(np.float32))
        table = send(table, images.device)
        own = labels
        if not labels.is_floating_point():
            own = (labels.unsqueeze(1) == torch.arange(self.classes, device=labels.device)).to(torch.float32)
        weight = weigh(table, h, w, has_boxes=self.mix.cutmix > 0).to(images.dtype)
        return self.blend(images, weight), self.blend(own, table[1].unsqueeze(1))

    def draw(self, step: int, h: int, w: int) -> Draws:
        """Draw how the whole global batch of `step` is mixed, for images of h x w pixels."""
        mix, size = self.mix, self.batch_size
        random = np.random.Generator(np.random.Philox(key=np.array([self.seed, step], dtype=np.uint64)))
        drawn, switched, y, x = random.random((4, size))
        keep = random.beta(mix.mixup, mix.mixup, size) if mix.mixup else np.ones(size)
        cut = np.ones(size)
        if mix.cutmix:
            cut = random.beta(mix.cutmix, mix.cutmix, size)
            is_cut = switched < (mix.switch_prob if mix.mixup else 1.0)
            keep, cut = np.where(is_cut, 1.0, keep), np.where(is_cut, cut, 1.0)
        is_mixed = (drawn < mix.prob) & (step < self.until_step)
        keep, cut = np.where(is_mixed, keep, 1.0), np.where(is_mixed, cut, 1.0)
        top, bottom = place(y, cut, h)
        left, right = place(x, cut, w)
        return Draws(keep, keep - keep * (bottom - top) * (right - left) / (h * w), top, bottom, left, right)

    def blend(self, own: Tensor, weight: Tensor) -> Tensor:
        """Give weight * own + (1 - weight) * partner's, for (b, ...); exact where `weight` is 1."""
        mixed = torch.empty_like(own)
        own, weight, to = (x.unflatten(0, (-1, self.group)) for x in (own, weight, mixed))
        torch.lerp(own[:, 1:], own[:, :-1], weight[:, :-1], out=to[:, :-1])
        torch.lerp(own[:, :1], own[:, -1:], weight[:, -1:], out=to[:, -1:])
        return mixed


def place(middle: Floats, cut: Floats, side: int) -> tuple[Floats, Floats]:
    """Give the clipped ends of boxes on a side of `side` pixels: around `middle` (0..1), of size sqrt(1 - cut)."""
    centre = np.floor(middle * side)
    half = np.floor(side * np.sqrt(1 - cut) / 2)
    return np.maximum(centre - half, 0), np.minimum(centre + half, side)


def send(table: Tensor, device: torch.device) -> Tensor:
    """Copy a small table to `device` without holding the host up."""
    if device.type == "cuda":
        table = table.pin_memory()
    return table.to(device, non_blocking=True)


def weigh(table: Tensor, h: int, w: int, *, has_boxes: bool) -> Tensor:
    """Turn a table (6, b) in the order of `Draws` into each pixel's share: (b, 1, h, w), without boxes (b, 1, 1, 1)."""
    keep, _, top, bottom, left, right = table[:, :, None]
    if not has_boxes:
        return keep[:, :, None, None]
    y, x = torch.arange(h, device=table.device), torch.arange(w, device=table.device)
    in_rows, in_columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return (keep[:, :, None] * ~(in_rows[:, :, None] & in_columns[:, None, :])).unsqueeze(1)
