"""The classes of ImageNet-1k, which weights of other makers number in one order and whose folders are named by WordNet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from vit_cli.data.samples import Samples, View

CLASSES = 1000
PLACES = tuple(map(str, range(CLASSES)))
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


def are_imagenets(names: Sequence[str]) -> bool:
    """Tell whether classes are ImageNet's 1000 in their order, by names, WordNet numbers, or places from 0 to 999."""
    return tuple(names) == PLACES or are_same(imagenet_names(), names)


def name_classes(images: Samples, names: Sequence[str]) -> Samples:
    """Give classes that are ImageNet's in other words the `names` of the model; leave `images` alone if they are not.

    Other words are WordNet numbers, or all places from 0 to 999 (ImageNet-V2). Not some of these: those of other data would
    be taken for fish and birds.
    """
    if set(images.classes) == set(PLACES) != set(names) and are_imagenets(names):
        places = np.array([int(name) for name in images.classes], dtype=np.int64)
        is_marked = images.labels.ndim > 1  # a mark for each class
        labels = images.labels[:, np.argsort(places)] if is_marked else places[images.labels]
        return View(images, np.arange(len(images)), labels, names)
    return name_wordnet(images, names)


def name_wordnet(images: Samples, names: Sequence[str]) -> Samples:
    """Give classes that are ImageNet's WordNet numbers its `names`; leave `images` alone if they are other classes."""
    if images.classes == tuple(names) or not are_same(names, images.classes):
        return images
    return View(images, np.arange(len(images)), images.labels, names)
