"""Laws that hold for every per-image transform, alone and in a chain."""

from __future__ import annotations

import pickle
import random
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vit_cli.augment.preprocess import Preprocess, build_eval_transform
from vit_cli.augment.transforms import Transform, build_train_transform
from vit_cli.section import Grid

KINDS = get_args(get_args(Transform)[0])
SIZES = [(8, 8), (1, 1), (32, 32), (200, 300), (1, 400)]
RES = Grid(16, 24)
STRONG: dict[str, dict[str, Any]] = {
    "flip": {"prob": 1.0},
    "affine": {"degrees": 30.0, "translate": (0.2, 0.2), "scale": (0.5, 1.5), "shear": 20.0},
    "color_jitter": {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.2},
    "grayscale": {"prob": 1.0},
    "gaussian_blur": {"prob": 1.0},
    "random_erasing": {"prob": 1.0},
    "auto_augment": {"policy": "svhn"},
}
"""Settings with which a transform always does something."""


def make_image(h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def make_item(kind: Any) -> Any:
    return kind(**STRONG.get(kind.model_fields["name"].default, {}))


@pytest.mark.parametrize("kind", KINDS)
def test_any_image_becomes_contiguous_bytes_of_the_resolution_and_stays_untouched(kind: Any) -> None:
    transform = build_train_transform([make_item(kind)], RES, Preprocess())
    for h, w in SIZES:
        image = make_image(h, w)
        before = image.clone()
        for _ in range(4):
            changed = transform(image)
            assert changed.shape == (3, *RES)
            assert changed.dtype == torch.uint8
            assert changed.is_contiguous()
        assert torch.equal(image, before)


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_seed_alone_decides_and_a_pickled_copy_does_the_same(kind: Any) -> None:
    transform = build_train_transform([make_item(kind)], RES, Preprocess())
    copy, image = pickle.loads(pickle.dumps(transform)), make_image(40, 30)
    results = []
    for number, each in enumerate((transform, copy)):
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(7)
        results.append([each(image) for _ in range(6)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_no_random_number_comes_from_python_or_numpy(kind: Any) -> None:
    transform, image = build_train_transform([make_item(kind)], RES, Preprocess()), make_image(40, 30)
    python, numpy = random.getstate(), np.random.get_state()[1].tobytes()
    for _ in range(6):
        transform(image)
    assert random.getstate() == python
    assert np.random.get_state()[1].tobytes() == numpy


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.model_fields["name"].default != "resize"])
def test_images_come_out_changed(kind: Any) -> None:
    torch.manual_seed(0)
    transform, image = build_train_transform([make_item(kind)], RES, Preprocess()), make_image(*RES)
    plain = build_eval_transform(Preprocess(), RES)(image)
    assert any(not torch.equal(transform(image), plain) for _ in range(20))


def test_without_an_item_that_sizes_the_evaluation_resize_comes_first() -> None:
    image, preprocess = make_image(50, 70), Preprocess(crop=0.5, interpolation="bilinear")
    flip = TypeAdapter(Transform).validate_python({"name": "flip", "prob": 1.0})
    changed = build_train_transform([flip], RES, preprocess)(image)
    assert torch.equal(changed, build_eval_transform(preprocess, RES)(image).flip(-1))


def test_an_empty_list_is_the_evaluation_transform() -> None:
    image = make_image(50, 70)
    assert torch.equal(
        build_train_transform([], RES, Preprocess())(image), build_eval_transform(Preprocess(), RES)(image)
    )


def test_every_name_is_found_by_its_name_and_a_wrong_field_is_refused() -> None:
    adapter = TypeAdapter(Transform)
    for kind in KINDS:
        assert adapter.validate_python({"name": kind.model_fields["name"].default}) == kind()
    with pytest.raises(ValidationError, match="magnitud"):
        adapter.validate_python({"name": "randaugment", "magnitud": 9})


@pytest.mark.parametrize(
    "item",
    [
        {"name": "random_resized_crop", "scale": (1.0, 0.1)},
        {"name": "random_resized_crop", "scale": (0.0, 1.0)},
        {"name": "affine", "scale": (1.2, 0.8)},
        {"name": "randaugment", "magnitude": 31},
        {"name": "flip", "prob": 1.5},
        {"name": "affine", "fill": 256},
    ],
)
def test_values_out_of_range_are_refused(item: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Transform).validate_python(item)
