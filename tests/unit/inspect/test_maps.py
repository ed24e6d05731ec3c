"""Maps of heads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.unit.inspect.tiny import get, make_sight
from vit_cli.errors import UsageError
from vit_cli.inspect.board import HALF
from vit_cli.inspect.maps import draw_maps, entropy, read_answer
from vit_cli.inspect.parts import Parts


def test_the_map_is_the_class_tokens_row_or_the_mean_over_the_patches_rows() -> None:
    weights = torch.arange(32.0).view(1, 2, 4, 4)
    assert read_answer(weights, Parts({}, prefix=1, reads="class token")).tolist() == [[[1, 2, 3], [17, 18, 19]]]
    assert read_answer(weights, Parts({}, prefix=2, reads="mean")).tolist() == [[[12, 13], [28, 29]]]


def test_entropy_is_that_of_a_coin_for_two_patches_and_none_for_one() -> None:
    maps = torch.tensor([[[0.25, 0.25, 0.0, 0.0], [0.7, 0.0, 0.0, 0.0]]])
    assert entropy(maps).tolist() == pytest.approx([1, 0], abs=1e-9)


def test_a_layer_that_there_is_not_is_refused_and_the_last_is_drawn_if_none_is_named(tmp_path: Path) -> None:
    ready = get(tmp_path, "cls")
    numbers = draw_maps(make_sight(ready)).numbers
    assert (numbers["layer"], len(numbers["entropy"])) == (2, 3)
    assert max(numbers["entropy"]) < numbers["even_entropy"] == pytest.approx(math.log2(15))
    assert draw_maps(make_sight(ready, layer=1)).numbers["layer"] == 1
    with pytest.raises(UsageError, match="tiny has layers 1 to 2"):
        draw_maps(make_sight(ready, layer=3))


@pytest.mark.parametrize(("kind", "heads"), [("map", 3), ("cct", 1)])
def test_pooling_that_has_an_attention_of_its_own_is_drawn_above_the_layers(
    tmp_path: Path, kind: str, heads: int
) -> None:
    panel = draw_maps(make_sight(get(tmp_path, kind), width=HALF))
    assert len(panel.numbers["pooling_entropy"]) == heads
    assert len(panel.board.images) == 5 * (1 + heads) + 5 * (1 + 3)
    assert [words.text for words in panel.board.words if words.weight == "bold"] == [
        "Pooling: what the head reads",
        "Layer 2: what patches look at",
    ]
