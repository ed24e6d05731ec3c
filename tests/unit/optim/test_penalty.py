"""The L1 penalty against the same penalty inside the graph."""

from __future__ import annotations

import torch
from torch import nn

from vit_cli.optim.penalty import L1, NoPenalty


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))


def test_the_penalty_equals_autograds() -> None:
    ours, theirs, x = model(), model(), torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    ours(x).square().mean().backward()
    value = L1([ours[0].weight, ours[2].weight], 0.01)()

    expected = 0.01 * (theirs[0].weight.abs().sum() + theirs[2].weight.abs().sum())
    (theirs(x).square().mean() + expected).backward()

    torch.testing.assert_close(value, expected.detach())
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_a_weight_of_zero_is_left_alone() -> None:
    weight = nn.Parameter(torch.tensor([[0.0, -2.0, 3.0]]))
    weight.grad = torch.zeros(1, 3)
    L1([weight], 0.5)()
    assert weight.grad.tolist() == [[0.0, -0.5, 0.5]]


def test_frozen_kernels_are_not_penalised() -> None:
    net = model()
    net[0].weight.requires_grad = False
    net(torch.ones(1, 3)).sum().backward()
    value = L1([net[0].weight, net[2].weight], 1.0)()
    torch.testing.assert_close(value, net[2].weight.detach().abs().sum())


def test_no_penalty_is_zero() -> None:
    assert NoPenalty()().item() == 0


def test_a_kernel_that_nothing_went_through_is_left_alone() -> None:
    net = model()
    net[2](torch.ones(1, 4)).sum().backward()
    value = L1([net[0].weight, net[2].weight], 1.0)()
    assert net[0].weight.grad is None
    torch.testing.assert_close(net[2].weight.grad, 1 + net[2].weight.detach().sign())
    torch.testing.assert_close(value, sum(net[i].weight.detach().abs().sum() for i in (0, 2)))
