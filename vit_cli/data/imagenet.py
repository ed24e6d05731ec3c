"""The classes of ImageNet-1k, which weights of other makers number in one order and whose folders are named by WordNet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from vit_cli.data.samples import Samples, View

CLASSES = 1000
WORDNET = re.compile(r"n\d{8}")


@cache
def imagenet_names() -> tuple[str, ...]:
    """Give the names of the classes in the order of their WordNet numbers, from what torchvision says about its weights."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def are_same(names: Sequence[str], classes: Sequence[str]) -> bool:
    """Tell whether `classes` are those called `names`, in the same order: equal, or ImageNet's WordNet numbers for its names.

    All 1000 numbers must be there, since a number's place among them is what tells its name.
    """
    if tuple(names) == tuple(classes):
        return True
    if len(classes) != CLASSES or len(names) != CLASSES or not all(map(WORDNET.fullmatch, classes)):
        return False
    return list(classes) == sorted(classes) and tuple(names) == imagenet_names()


def name_wordnet(images: Samples, names: Sequence[str]) -> Samples:
    """Give classes that are ImageNet's WordNet numbers its `names`; leave `images` alone if they are other classes."""
    if images.classes == tuple(names) or not are_same(names, images.classes):
        return images
    return View(images, np.arange(len(images)), images.labels, names)
