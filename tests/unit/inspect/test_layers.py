"""What is read out of layers against the model's own end."""

from __future__ import annotations

import pytest
import torch

from tests.unit.inspect.tiny import CONVOLUTIONS, TRANSFORMERS, build, images
from vit_cli.inspect.layers import read_layers
from vit_cli.inspect.parts import find_parts
from vit_cli.section import Grid


@pytest.mark.parametrize("kind", TRANSFORMERS)
@torch.inference_mode()
def test_the_last_norm_makes_of_the_last_layers_tokens_what_the_model_encodes(kind: str) -> None:
    model = build(kind)
    layers = read_layers(model, find_parts(model), images())
    tokens = torch.cat([layers[-1].prefix, layers[-1].patches], dim=1)
    torch.testing.assert_close(model.norm(tokens), model.encode(images()))
    assert [layer.name for layer in layers] == ["layer 1", "layer 2"]
    assert {layer.grid for layer in layers} == {Grid(6, 10) if kind.startswith("cct") else Grid(3, 5)}
    assert layers[0].patches.shape[1] == layers[0].grid.rows * layers[0].grid.columns


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@torch.inference_mode()
def test_the_mean_over_the_cells_of_the_last_stage_is_what_a_convolutional_model_pools(kind: str) -> None:
    model = build(kind)
    layers = read_layers(model, find_parts(model), images())
    mean = layers[-1].patches.mean(dim=1)
    pooled = model.network.classifier[0](mean[:, :, None, None]).flatten(1) if kind == "convnext" else mean
    torch.testing.assert_close(pooled, model.features(images()))
    assert [(layer.name, layer.grid) for layer in layers] == [
        ("stem", Grid(12, 20)),
        ("stage 1", Grid(12, 20)),
        ("stage 2", Grid(6, 10)),
    ]
    assert layers[0].prefix.shape[1] == 0
