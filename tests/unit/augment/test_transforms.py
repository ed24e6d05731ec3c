"""Laws that hold for every transform of training images, alone and in a chain."""

from __future__ import annotations

import pickle
import random
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vit_cli.augment.crops import RandomCrop, RandomResizedCrop, Resize
from vit_cli.augment.geometry import Flip
from vit_cli.augment.preprocess import Preprocess, build_eval_transform
from vit_cli.augment.transforms import Augmentation, Transform, build_augmentation
from vit_cli.keys import Keys, image_keys
from vit_cli.section import Grid

KINDS = get_args(get_args(Transform)[0])
SIZES = [(8, 8), (1, 1), (32, 32), (200, 300), (1, 400)]
RES = Grid(16, 24)
PLAIN = Preprocess()
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


def build(*items: Any, preprocess: Preprocess = PLAIN, res: Grid = RES) -> Augmentation:
    return build_augmentation(items, res, preprocess)


def make_keys(count: int, seed: int = 7) -> Keys:
    return image_keys(seed, np.zeros(count, dtype=np.int64), np.arange(count))


def show(augmentation: Augmentation, image: Tensor, keys: Keys) -> Tensor:
    """Show one image once for every key, as a batch of training has it."""
    looks = [augmentation.look(*image.shape[1:], drawn) for drawn in augmentation.draw(keys)]
    return augmentation.change(torch.stack([look.take(image) for look in looks]), keys)


@pytest.mark.parametrize("kind", KINDS)
def test_any_image_becomes_bytes_of_the_resolution_and_stays_untouched(kind: Any) -> None:
    for h, w in SIZES:
        image = make_image(h, w)
        before = image.clone()
        changed = show(build(make_item(kind)), image, make_keys(4))
        assert changed.shape == (4, 3, *RES)
        assert changed.dtype == torch.uint8
        assert torch.equal(image, before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_alone_decides_and_a_pickled_copy_does_the_same(kind: Any) -> None:
    augmentation = build(make_item(kind))
    copy, image = pickle.loads(pickle.dumps(augmentation)), make_image(40, 30)
    results = []
    for number, each in enumerate((augmentation, copy)):
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        results.append(show(each, image, make_keys(6)))
    assert torch.equal(*results)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_elses_random_numbers_are_used_up(kind: Any) -> None:
    before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()
    show(build(make_item(kind)), make_image(40, 30), make_keys(6))
    assert before == (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_the_same_in_any_company(kind: Any) -> None:
    augmentation, image, keys = build(make_item(kind)), make_image(40, 30), make_keys(9)
    whole = show(augmentation, image, keys)
    for rows in (slice(0, 1), slice(4, 5), slice(3, 8)):
        assert torch.equal(show(augmentation, image, keys[rows]), whole[rows])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.model_fields["name"].default != "resize"])
def test_images_come_out_changed(kind: Any) -> None:
    image = make_image(*RES)
    changed = show(build(make_item(kind)), image, make_keys(20))
    assert not torch.equal(changed, build_eval_transform(PLAIN, RES)(image).expand_as(changed))


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_one_size_are_brought_to_the_resolution_together_as_one_by_one(kind: Any) -> None:
    augmentation, keys = build(make_item(kind)), make_keys(5)
    images = torch.stack([make_image(20, 28, seed) for seed in range(5)])
    looks = [augmentation.look(20, 28, drawn) for drawn in augmentation.draw(keys)]
    alone = torch.stack([look.take(image) for look, image in zip(looks, images, strict=True)])
    assert torch.equal(augmentation.bring(images, keys), alone)


def test_two_of_a_kind_draw_each_for_itself() -> None:
    flips = show(build(Flip(), Flip()), make_image(8, 8), make_keys(4000))
    plain = build_eval_transform(PLAIN, RES)(make_image(8, 8))
    assert abs(float((flips == plain).flatten(1).all(1).float().mean()) - 0.5) < 0.04


def test_without_an_item_that_sizes_the_evaluation_resize_comes_first() -> None:
    image, preprocess = make_image(50, 70), Preprocess(crop=0.5, interpolation="bilinear")
    changed = show(build(Flip(prob=1.0), preprocess=preprocess), image, make_keys(1))[0]
    assert torch.equal(changed, build_eval_transform(preprocess, RES)(image).flip(-1))


def test_what_precedes_the_crop_happens_before_it() -> None:
    image, keys = make_image(50, 70), make_keys(6)
    before = show(build(Flip(prob=1.0), RandomResizedCrop()), image, keys)
    assert torch.equal(before, show(build(RandomResizedCrop()), image.flip(-1), keys))
    assert not torch.equal(before, show(build(RandomResizedCrop(), Flip(prob=1.0)), image, keys))


def test_of_two_that_size_the_second_sees_what_the_first_made() -> None:
    image, keys = make_image(50, 70), make_keys(3)
    seen = show(build(Resize(), RandomCrop(padding=2)), image, keys)
    small = build_eval_transform(Preprocess(crop=1.0), RES)(image)
    padded = torch.nn.functional.pad(small, (2, 2, 2, 2))
    windows = [padded[:, y : y + RES.rows, x : x + RES.columns] for y in range(5) for x in range(5)]
    assert all(any(torch.equal(one, window) for window in windows) for one in seen)


def test_an_empty_list_is_the_evaluation_transform() -> None:
    image = make_image(50, 70)
    assert torch.equal(show(build(), image, make_keys(1))[0], build_eval_transform(PLAIN, RES)(image))


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
