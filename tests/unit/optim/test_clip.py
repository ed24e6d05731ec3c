"""Clipping against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vit_cli.optim.clip import Clip, NoClip


def parameters() -> list[nn.Parameter]:
    """Gradients of global norm 13, and one parameter without any."""
    params = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(3))]
    params[0].grad = torch.tensor([3.0, 4.0])
    params[1].grad = torch.tensor([[12.0]])
    return params


def test_long_gradients_are_scaled_to_the_limit() -> None:
    params = parameters()
    assert Clip(6.5)(params).item() == pytest.approx(13.0)
    assert params[0].grad.tolist() == pytest.approx([1.5, 2.0])
    assert params[1].grad.item() == pytest.approx(6.0)


def test_short_gradients_stay_as_they_are() -> None:
    params = parameters()
    Clip(14.0)(params)
    assert params[0].grad.tolist() == [3.0, 4.0]


def test_without_clipping_the_norm_is_measured_all_the_same() -> None:
    params = parameters()
    assert NoClip()(params).item() == pytest.approx(13.0)
    assert params[0].grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("clip", [Clip(1.0), NoClip()])
def test_a_gradient_that_is_not_finite_shows_in_the_norm(clip: Clip | NoClip) -> None:
    params = parameters()
    params[1].grad.fill_(math.nan)
    assert math.isnan(clip(params).item())
