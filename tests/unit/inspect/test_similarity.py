"""Similarity of tokens by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.inspect.tiny import get, make_sight
from vit_cli.inspect.layers import Layer, read_layers
from vit_cli.inspect.parts import Parts
from vit_cli.inspect.similarity import compare_to_reference, draw_similarity
from vit_cli.section import Grid


def make_layer() -> Layer:
    patches = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]])
    return Layer("layer 1", torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), patches, Grid(1, 3))


def test_patches_are_compared_with_the_class_token_where_the_head_reads_one_else_with_their_mean() -> None:
    layer = make_layer()
    assert compare_to_reference(layer, Parts({}, reads="class token")).tolist() == [[1, 0, -1]]
    found = compare_to_reference(layer, Parts({}, reads="mean"))[0]  # the mean is (1/3, 1)
    length = np.hypot(1 / 3, 1)
    assert found.tolist() == pytest.approx([1 / 3 / length, 1 / length, -1 / 3 / length])


@pytest.mark.parametrize("kind", ["deit", "gap", "tnt", "cct"])
def test_the_course_over_layers_is_the_mean_over_all_patches_of_all_images(tmp_path: Path, kind: str) -> None:
    sight = make_sight(get(tmp_path, kind), count=20)
    numbers = draw_similarity(sight).numbers
    all_images = sight.ready.prepare(sight.album.images)
    for place, layer in enumerate(read_layers(sight.model, sight.parts, all_images)):
        reference = layer.prefix[:, 0] if kind in ("deit", "tnt") else layer.patches.mean(dim=1)
        unit = layer.patches / layer.patches.norm(dim=-1, keepdim=True)
        cosine = (unit @ (reference / reference.norm(dim=-1, keepdim=True))[:, :, None])[..., 0]
        assert numbers["mean"][place] == pytest.approx(float(cosine.mean()), abs=1e-5)
        assert numbers["p10"][place] == pytest.approx(float(np.percentile(cosine.numpy(), 10)), abs=1e-5)
