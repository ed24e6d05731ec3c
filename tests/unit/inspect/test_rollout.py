"""Rollout against numpy, and its laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.inspect.tiny import get, images, make_sight
from vit_cli.inspect.attention import watching
from vit_cli.inspect.rollout import draw_rollout, make_factor, multiply, read_rollout, roll_out
from vit_cli.inspect.sight import Sight


def draw_weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(dim=-1)


def roll_by_hand(layers: list[np.ndarray]) -> np.ndarray:
    """The product of Abnar & Zuidema for one image, in numpy: the last layer stands on the left."""
    rolled = np.eye(layers[0].shape[-1])
    for weights in layers:
        rolled = (0.5 * weights.mean(axis=0) + 0.5 * np.eye(len(rolled))) @ rolled
    return rolled


def watch(sight: Sight, pixels: torch.Tensor) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    with torch.inference_mode(), watching(sight.parts.attention, lambda _, weights: found.append(weights.numpy())):
        sight.model.features(pixels)
    return found


def test_rollout_is_the_product_that_numpy_makes_for_each_image_of_a_batch() -> None:
    layers = list(draw_weights(4, 3, 2, 7, 7))
    found = roll_out(layers).numpy()
    for image in range(3):
        np.testing.assert_allclose(found[image], roll_by_hand([layer[image].numpy() for layer in layers]), rtol=1e-12)


def test_the_rows_of_every_factor_and_of_their_product_sum_to_one() -> None:
    weights = draw_weights(2, 3, 5, 5)
    ones = torch.ones(2, 5, dtype=torch.float64)
    torch.testing.assert_close(make_factor(weights).sum(dim=-1), ones)
    torch.testing.assert_close(make_factor(2 * weights).sum(dim=-1), ones)
    torch.testing.assert_close(roll_out([weights, weights.flip(0)]).sum(dim=-1), ones)


def test_tokens_that_see_themselves_alone_reach_themselves_alone() -> None:
    alone = torch.eye(4).expand(2, 3, 4, 4)
    assert torch.equal(roll_out([alone] * 3), torch.eye(4).expand(2, 4, 4))


@pytest.mark.parametrize(("kind", "prefix"), [("cls", 1), ("everything", 3), ("tnt", 1), ("gap", 0), ("axial", 1)])
def test_the_map_is_the_row_of_the_class_token_or_the_mean_over_patches(tmp_path: Path, kind: str, prefix: int) -> None:
    sight = make_sight(get(tmp_path, kind))
    found = read_rollout(sight, images()).numpy()
    layers = watch(sight, images())
    for image in range(2):
        rolled = roll_by_hand([layer[image] for layer in layers])
        expected = rolled.mean(axis=0) if kind == "gap" else rolled[0, prefix:]
        np.testing.assert_allclose(found[image], expected, rtol=1e-4)


def test_pooling_by_attention_is_one_more_factor(tmp_path: Path) -> None:
    sight, pooled = make_sight(get(tmp_path, "map")), []
    with torch.inference_mode(), watching([sight.model.pool], lambda _, weights: pooled.append(weights.numpy())):
        sight.model.features(images())
    layers = watch(sight, images())
    expected = [pooled[0][i].mean(axis=0) @ roll_by_hand([layer[i] for layer in layers]) for i in range(2)]
    found = read_rollout(sight, images()).numpy()
    np.testing.assert_allclose(found, np.stack(expected)[:, 0], rtol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_the_numbers_have_the_map_of_every_image_that_is_drawn_on_its_grid(tmp_path: Path) -> None:
    numbers = draw_rollout(make_sight(get(tmp_path, "hybrid"))).numbers
    assert [entry["image"] for entry in numbers["images"]] == [f"photos/{place}.png" for place in (0, 3, 6, 8, 11)]
    assert np.shape(numbers["images"][0]["map"]) == (3, 5)


def test_an_image_keeps_its_brightness_where_the_map_is_largest_and_none_where_it_is_zero() -> None:
    picture = np.full((4, 4, 3), 200, dtype=np.uint8)
    lit = multiply(picture, np.array([[0.5, 0.5], [0.5, 0.5]]))
    assert (lit == 200).all()
    assert not multiply(picture, np.array([[0.0, 0.0], [0.0, 0.7]]))[0, 0].any()
