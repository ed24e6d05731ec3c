"""Errors of numbers, against scikit-learn, in the user's units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from vit_cli.metrics.deviation import Deviation
from vit_cli.section import Scale

CPU = torch.device("cpu")
SCALE = Scale(mean=(100.0, -3e6, 0.5), std=(12.0, 1e5, 0.01))


def batch(images: int = 97) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and targets, standardised."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(images, 3, generator=generator)
    return true + 0.3 * torch.randn(images, 3, generator=generator), true


def scores_of(predictions: torch.Tensor, targets: torch.Tensor, size: int = 1000) -> dict[str, torch.Tensor]:
    metric = Deviation(SCALE)
    sums = metric.start(CPU)
    for part in zip(predictions.split(size), targets.split(size), strict=True):
        metric.add(sums, *part, torch.zeros(0))
    return metric.each(sums)


def test_each_target_is_scored_as_scikit_learn_scores_it() -> None:
    predictions, targets = batch()
    found = scores_of(predictions, targets, size=10)
    said, true = (x.double().numpy() * np.array(SCALE.std) + np.array(SCALE.mean) for x in (predictions, targets))
    for name, score in (("mae", mean_absolute_error), ("rmse", root_mean_squared_error), ("r2", r2_score)):
        expected = score(true, said, multioutput="raw_values")
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-9)


def test_the_score_of_all_targets_is_their_mean() -> None:
    predictions, targets = batch()
    metric = Deviation(SCALE)
    sums = metric.start(CPU)
    metric.add(sums, predictions, targets, torch.zeros(0))
    assert metric.finish(sums)["r2"] == pytest.approx(r2_score(targets.double(), predictions.double()))


def test_errors_in_different_units_are_not_averaged() -> None:
    predictions, targets = batch()
    found = {}
    for count in (1, 2):
        metric = Deviation(Scale(mean=SCALE.mean[:count], std=SCALE.std[:count]))
        sums = metric.start(CPU)
        metric.add(sums, predictions[:, :count], targets[:, :count], torch.zeros(0))
        found[count] = metric.finish(sums)
    assert found[2].keys() == {"r2"}
    off = 12 * (predictions - targets)[:, 0].double()
    assert found[1]["rmse"] == pytest.approx(off.square().mean().sqrt().item())
    assert found[1]["mae"] == pytest.approx(off.abs().mean().item())


def test_where_all_true_values_are_the_same_only_no_error_at_all_scores() -> None:
    targets = torch.tensor([[2.0, 0.0, 0.3]]).expand(5, 3)
    predictions = targets.clone()
    predictions[:, 0] += 1e-3
    found = scores_of(predictions, targets)["r2"].tolist()
    assert found == [0, 1, 1]
    assert found == r2_score(targets, predictions, multioutput="raw_values").tolist()
