"""Attention distance against a double loop over patches, and where it is known without one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.unit.inspect.tiny import build, get, images, make_sight
from vit_cli.inspect.attention import watching
from vit_cli.inspect.distance import average_distances, draw_distance, mean_distance, measure_distances
from vit_cli.inspect.parts import Lattice, find_parts
from vit_cli.section import Grid

LATTICE = Lattice(Grid(3, 5), Grid(4, 4))


def count_by_hand(weights: torch.Tensor, rows: int, columns: int, patch: int, prefix: int) -> float:
    """One head's distance, query by query and key by key, over the pixels in the middle of patches."""
    total = 0.0
    for i in range(rows * columns):
        for j in range(rows * columns):
            y1, x1 = patch * (i // columns) + patch / 2, patch * (i % columns) + patch / 2
            y2, x2 = patch * (j // columns) + patch / 2, patch * (j % columns) + patch / 2
            total += float(weights[prefix + i, prefix + j]) * math.sqrt((y1 - y2) ** 2 + (x1 - x2) ** 2)
    return total / (rows * columns)


@pytest.mark.parametrize(("kind", "prefix"), [("gap", 0), ("cls", 1), ("deit", 2), ("everything", 3)])
@torch.inference_mode()
def test_distances_are_those_of_a_loop_over_all_pairs_of_patches(kind: str, prefix: int) -> None:
    model, seen = build(kind), {}
    with watching(find_parts(model).attention, seen.__setitem__):
        model.features(images())
    assert find_parts(model).prefix == prefix
    found = mean_distance(seen[1], measure_distances(LATTICE), prefix)
    assert found.shape == (2, 3)
    for image in range(2):
        for head in range(3):
            assert float(found[image, head]) == pytest.approx(count_by_hand(seen[1][image, head], 3, 5, 4, prefix))


def test_attention_that_is_spread_evenly_over_a_line_spans_a_third_of_it() -> None:
    n, step = 7, 16
    distances = measure_distances(Lattice(Grid(1, n), Grid(step, step)))
    evenly = torch.full((1, 2, n, n), 1 / n)
    assert mean_distance(evenly, distances, 0).tolist() == [[pytest.approx(step * (n * n - 1) / (3 * n))] * 2]


def test_a_patch_that_sees_itself_alone_spans_nothing_and_what_a_class_token_gets_counts_as_nothing() -> None:
    distances = measure_distances(LATTICE)
    assert not mean_distance(torch.eye(15)[None, None], distances, 0).any()
    evenly = torch.full((1, 1, 16, 16), 1 / 16)
    assert float(mean_distance(evenly, distances, 1)) == pytest.approx(15 / 16 * float(distances.mean()))


@torch.inference_mode()
def test_the_average_is_over_all_images_in_whatever_batches(tmp_path: Path) -> None:
    sight = make_sight(get(tmp_path, "cls"), count=20)  # 16 in the first batch, 4 in the second
    found = average_distances(sight, sight.parts.attention, sight.lattice, 1)
    model, each = sight.model, []
    for image in sight.album.images:
        with watching(sight.parts.attention, lambda place, weights: each.append((place, weights))):
            model.features(sight.ready.prepare(image[None]))
    last = [mean_distance(weights, measure_distances(LATTICE), 1)[0] for place, weights in each if place == 1]
    torch.testing.assert_close(found[1], torch.stack(last).mean(dim=0), rtol=1e-5, atol=1e-6)


def test_tnt_has_the_distances_of_its_words_too(tmp_path: Path) -> None:
    numbers = draw_distance(make_sight(get(tmp_path, "tnt"))).numbers
    assert numbers["renormalised"] is False
    assert torch.tensor(numbers["outer"]["layers"]).shape == (2, 3)
    assert torch.tensor(numbers["inner"]["layers"]).shape == (2, 2)
    assert numbers["inner"]["evenly"] == pytest.approx((2 + 2 + math.sqrt(8)) / 4)  # four words, two pixels apart
