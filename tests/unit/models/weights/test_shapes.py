"""What names and shapes tell of an architecture."""

from __future__ import annotations

import pytest
import torch

from vit_cli.errors import CheckpointError
from vit_cli.models.sizes import SIZES
from vit_cli.models.weights.shapes import count, dimensions, side_of, take


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_is_called_by_its_name(name: str) -> None:
    size = SIZES[name]  # type: ignore[index]
    assert dimensions(size.width, size.depth, size.mlp) == {"size": name}
    assert dimensions(*size) == {"size": name}


def test_dinov2s_giant_is_none_of_googles_giants() -> None:
    """Width 1536, 40 blocks as `giant_opt`, but 24 heads and a SwiGLU of 4096."""
    assert dimensions(1536, 40, 4096) == {"width": 1536, "depth": 40, "mlp": 4096, "heads": 24}


def test_other_heads_than_the_sizes_are_said() -> None:
    assert dimensions(768, 12, 3072, 8) == {"width": 768, "depth": 12, "mlp": 3072, "heads": 8}
    assert dimensions(48, 2, 96)["heads"] == 1


def test_layers_are_counted_and_a_gap_is_named() -> None:
    weights = {f"block{i}.w": torch.ones(1) for i in (1, 2, 3)}
    assert count(weights, "block{i+1}.w") == 3
    del weights["block2.w"]
    with pytest.raises(CheckpointError, match=r"lack block2\.w"):
        count(weights, "block{i+1}.w")
    with pytest.raises(CheckpointError, match=r"lack layer\.0"):
        count(weights, "layer.{i}")


@pytest.mark.parametrize("positions", [0, 2, 15, -1])
def test_positions_that_are_no_square_are_refused(positions: int) -> None:
    with pytest.raises(CheckpointError, match="no square grid"):
        side_of(positions, "table")


def test_a_table_for_a_square_grid_tells_its_side() -> None:
    assert [side_of(side * side, "table") for side in (1, 14, 37)] == [1, 14, 37]


@pytest.mark.parametrize("shape", [(), (3,), (3, 0)])
def test_what_an_architecture_is_read_from_has_its_dimensions(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="the weights w are of"):
        take({"w": torch.zeros(shape)}, "w", 2)
    with pytest.raises(CheckpointError, match="the weights lack v"):
        take({"w": torch.zeros(shape)}, "v", 2)
