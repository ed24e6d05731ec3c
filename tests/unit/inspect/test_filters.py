"""Components of kernels against numpy, and kernels against the layer they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.unit.inspect.tiny import MODELS, build, get, images, make_sight
from vit_cli.inspect.filters import draw_filters, find_components, find_kernels
from vit_cli.inspect.tiles import rescale


def test_components_are_the_eigenvectors_of_the_kernels_covariance_the_largest_first() -> None:
    kernels = np.random.default_rng(0).normal(size=(40, 4, 4, 3)) * np.linspace(1, 3, 3)
    components, shares = find_components(kernels)
    assert components.shape == (28, 4, 4, 3)
    values, vectors = np.linalg.eigh(np.cov(kernels.reshape(40, -1), rowvar=False))
    np.testing.assert_allclose(shares, values[::-1][:28] / values.sum(), rtol=1e-9)
    for place in range(28):
        expected = vectors[:, -1 - place]
        found = components[place].ravel()
        np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-7)


@pytest.mark.parametrize(("count", "side", "expected"), [(64, 2, 12), (10, 4, 9)])
def test_there_are_no_more_components_than_numbers_in_a_kernel_or_kernels_less_one(
    count: int, side: int, expected: int
) -> None:
    components, shares = find_components(np.random.default_rng(0).normal(size=(count, side, side, 3)))
    assert len(components) == len(shares) == expected
    assert shares.sum() == pytest.approx(1)


@torch.no_grad()
def test_the_kernels_of_a_patch_projection_are_those_of_a_convolution_of_that_stride() -> None:
    model = build("cls")
    kernels, is_patches = find_kernels(model)
    weight = torch.from_numpy(kernels).float().permute(0, 3, 1, 2)
    expected = F.conv2d(images(), weight, model.embedding.projection.bias, stride=4).flatten(2).transpose(1, 2)
    assert is_patches
    torch.testing.assert_close(model.embedding(images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "shape", "is_patches"),
    [
        ("cls", (24, 4, 4, 3), True),
        ("tnt", (8, 7, 7, 3), False),
        ("hybrid", (32, 7, 7, 3), False),
        ("cct", (24, 3, 3, 3), False),
        ("resnet", (8, 3, 3, 3), False),
        ("convnext", (8, 3, 3, 3), False),
    ],
)
def test_the_first_layer_that_meets_the_image_is_found(kind: str, shape: tuple[int, ...], is_patches: bool) -> None:
    kernels, cuts = find_kernels(build(kind))
    assert (kernels.shape, cuts) == (shape, is_patches)


def test_a_hybrids_kernels_are_those_that_act_of_mean_zero() -> None:
    kernels, _ = find_kernels(build("hybrid"))
    np.testing.assert_allclose(kernels.mean(axis=(1, 2, 3)), 0, atol=1e-6)


def test_each_filter_runs_from_its_own_least_value_to_its_largest() -> None:
    found = rescale(np.array([[-2.0, 0.0], [2.0, 6.0]]))
    assert found.tolist() == [[0, 0.25], [0.5, 1]]
    assert (rescale(np.full((2, 2), 7.0)) == 0.5).all()


def test_of_grey_images_the_sum_over_channels_is_drawn(tmp_path: Path) -> None:
    sight = make_sight(get(tmp_path, "cls"))
    assert draw_filters(sight).numbers["components"] == 23  # 24 kernels
    sight.album.images[:] = sight.album.images[:, :1]
    panel = draw_filters(sight)
    assert panel.numbers["components"] == 16  # 4x4 numbers
    assert "grey" in panel.summary
    ((_, _, sheet),) = panel.board.images
    assert (sheet == sheet[..., :1]).all()


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_has_filters(tmp_path: Path, kind: str) -> None:
    ((_, _, sheet),) = draw_filters(make_sight(get(tmp_path, kind))).board.images
    assert len(np.unique(sheet)) > 50
