"""Evaluation's resize and the normalising of a batch, beside torchvision's preset."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from vit_cli.augment.preprocess import Preprocess, build_eval_transform, normalise
from vit_cli.section import Grid

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def make_image(h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(388, 466), (301, 200), (64, 64), (256, 256)])
def test_evaluation_equals_torchvisions_transforms(size: tuple[int, int], interpolation: str) -> None:
    preprocess = Preprocess(crop=0.875, interpolation=interpolation, **IMAGENET)
    theirs = v2.Compose(
        [
            v2.Resize(256, interpolation=v2.InterpolationMode(interpolation)),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(**IMAGENET),
        ]
    )
    image = make_image(*size)
    ours = normalise(build_eval_transform(preprocess, Grid(224, 224))(image)[None], preprocess)
    torch.testing.assert_close(ours[0], theirs(image), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(388, 466), (301, 200), (64, 64)])
def test_evaluation_is_within_rounding_of_torchvisions_reference_preset(size: tuple[int, int]) -> None:
    preprocess = Preprocess(crop=0.875, interpolation="bilinear", **IMAGENET)
    image = make_image(*size)
    ours = normalise(build_eval_transform(preprocess, Grid(224, 224))(image)[None], preprocess)
    difference = (ours[0] - ImageClassification(crop_size=224, resize_size=256)(image)) * 255 * 0.229
    assert difference.abs().max() < 1.1  # it resizes in floats, we (like Pillow) in bytes
    assert difference.abs().mean() < 0.3


def test_squash_is_a_plain_resize() -> None:
    image = make_image(50, 90)
    squashed = build_eval_transform(Preprocess(resize="squash"), Grid(32, 48))(image)
    assert torch.equal(squashed, v2.functional.resize(image, [32, 48], v2.InterpolationMode.BICUBIC))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2), (2000, 7), (16, 24), (24, 16)])
@pytest.mark.parametrize("res", [Grid(16, 16), Grid(16, 40), Grid(40, 16)])
@pytest.mark.parametrize("mode", ["short", "squash"])
def test_any_size_of_image_fits_any_resolution(size: tuple[int, int], res: Grid, mode: str) -> None:
    result = build_eval_transform(Preprocess(resize=mode), res)(make_image(*size))
    assert result.shape == (3, *res)
    assert result.dtype == torch.uint8


@pytest.mark.parametrize("res", [Grid(20, 60), Grid(60, 20), Grid(30, 30)])
def test_the_middle_of_the_image_is_the_middle_of_the_result_and_both_sides_have_one_scale(res: Grid) -> None:
    rows, columns = torch.meshgrid(torch.arange(200.0), torch.arange(300.0), indexing="ij")
    image = torch.stack([rows * 255 / 299, columns * 255 / 299, torch.zeros(200, 300)]).to(torch.uint8)
    y, x = build_eval_transform(Preprocess(crop=1.0), res)(image)[:2].float()
    # A crop of odd parity sits half a pixel aside, and a pixel of the result is up to 10 of the image.
    assert abs(y.mean() - image[0].float().mean()) < 3
    assert abs(x.mean() - image[1].float().mean()) < 3
    down, across = (y[-1] - y[0]).mean() / (res.rows - 1), (x[:, -1] - x[:, 0]).mean() / (res.columns - 1)
    torch.testing.assert_close(down, across, rtol=0.06, atol=0)


def test_a_very_long_image_shows_its_middle_and_its_scale() -> None:
    image = torch.zeros(3, 2, 5000, dtype=torch.uint8)
    image[:, :, 2500:] = 200
    result = build_eval_transform(Preprocess(crop=1.0, interpolation="bilinear"), Grid(32, 32))(image)
    assert result[:, :, :7].max() == 0
    assert result[:, :, 25:].min() == 200
    torch.testing.assert_close(result[0, 0].float(), 200 - result[0, 0].float().flip(0), rtol=0, atol=1)


def test_normalising_matches_its_definition_and_leaves_the_bytes_alone() -> None:
    preprocess, images = Preprocess(**IMAGENET), make_image(256, 1)[None]
    before = images.clone()
    mean, std = (torch.tensor(IMAGENET[key], dtype=torch.float64).view(3, 1, 1) for key in ("mean", "std"))
    expected = ((images.double() / 255 - mean) / std).float()
    torch.testing.assert_close(normalise(images, preprocess), expected, rtol=0, atol=1e-6)
    assert torch.equal(images, before)


def test_normalising_first_in_inference_mode_serves_training_later() -> None:
    preprocess, images = Preprocess(mean=(0.1, 0.2, 0.3)), make_image(4, 4)[None]
    with torch.inference_mode():
        normalise(images, preprocess)
    factor = torch.ones((), requires_grad=True)
    (normalise(images, preprocess) * factor).sum().backward()
    assert factor.grad is not None


def test_preprocessing_survives_json_and_pickle() -> None:
    preprocess = Preprocess(crop=1.0, resize="squash", **IMAGENET)
    assert Preprocess.model_validate_json(preprocess.model_dump_json()) == preprocess
    transform, image = build_eval_transform(preprocess, Grid(8, 8)), make_image(9, 9)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(image), transform(image))
