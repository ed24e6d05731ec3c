"""Muon against the singular value decomposition, torch's own Muon and torch's own AdamW."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vit_cli.errors import RecipeError
from vit_cli.optim.groups import ParamGroup, set_lr
from vit_cli.optim.muon import Muon, MuonOptimizer, choose_dtype, orthogonalise, orthogonalise_all

SHAPES = [(6, 6), (12, 6), (6, 24)]
LR, DECAY = 0.02, 0.1


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def group(params: list[nn.Parameter], matrices: int = 1, decay: float = DECAY, scale: float = 1.0) -> ParamGroup:
    return ParamGroup(params=params, weight_decay=decay, lr_scale=scale, matrices=matrices, name=f"{matrices} {scale}")


def start(params: list[nn.Parameter], matrices: int = 1, **fields: Any) -> torch.optim.Optimizer:
    optimizer = Muon(**fields).build([group(params, matrices)])
    set_lr(optimizer, LR)
    return optimizer


def run(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: int = 4) -> None:
    for step in range(steps):
        for number, parameter in enumerate(params):
            parameter.grad = draw(*parameter.shape, seed=100 * step + number)
        optimizer.step()


@pytest.mark.parametrize(("dtype", "slack"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_singular_values_come_near_to_one_and_singular_vectors_stay(dtype: torch.dtype, slack: float) -> None:
    stack = draw(3, 16, 40) @ torch.diag(torch.logspace(0, -1, 40))
    u, _, v = torch.linalg.svd(stack, full_matrices=False)
    within = u.mT @ orthogonalise(stack, dtype).float() @ v.mT
    values = within.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.68 - slack
    assert values.max() < 1.21 + slack
    torch.testing.assert_close(within, torch.diag_embed(values), rtol=0, atol=slack)


def test_a_matrix_of_any_length_becomes_the_same() -> None:
    stack = draw(2, 4, 6)
    torch.testing.assert_close(orthogonalise(1e8 * stack, torch.float32), orthogonalise(1e-4 * stack, torch.float32))
    assert orthogonalise(torch.zeros(1, 4, 6), torch.float32).abs().sum() == 0


def test_matrices_that_share_products_are_orthogonalised_each_by_itself() -> None:
    matrices = [draw(*shape, seed=number) for number, shape in enumerate([(4, 8), (8, 4), (4, 8), (5, 5), (8, 4)])]
    together = [matrix.clone() for matrix in matrices]
    orthogonalise_all(together, torch.float32)
    for matrix, turned in zip(matrices, together, strict=True):
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        within = u.mT @ turned @ v.mT
        torch.testing.assert_close(within, within.diagonal().diag(), rtol=0, atol=1e-5)
        assert 0.68 < within.diagonal().min() <= within.diagonal().max() < 1.21


def plain_muon(w: Tensor, grads: list[Tensor], factor: float) -> Tensor:
    m = torch.zeros_like(w)
    for g in grads:
        m = 0.95 * m + 0.05 * g
        u, s, v = torch.linalg.svd(0.95 * m + 0.05 * g, full_matrices=False)
        s = s / s.norm()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        w = w - LR * DECAY * w - LR * factor * (u * s) @ v
    return w


@pytest.mark.parametrize("scale", ["spectral", "match_rms"])
def test_steps_equal_a_plain_loop_over_the_singular_values(scale: Any) -> None:
    params = [nn.Parameter(draw(*shape)) for shape in SHAPES]
    run(start(params, scale=scale), params)
    factors = [1.0, 2**0.5, 1.0] if scale == "spectral" else [0.2 * side**0.5 for side in (6, 12, 24)]
    for number, (parameter, factor) in enumerate(zip(params, factors, strict=True)):
        grads = [draw(*parameter.shape, seed=100 * step + number).double() for step in range(4)]
        expected = plain_muon(draw(*parameter.shape).double(), grads, factor)
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("scale", "theirs"), [("spectral", "original"), ("match_rms", "match_rms_adamw")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_steps_equal_torch_s_muon_as_far_as_bfloat16_tells(scale: Any, theirs: str, dtype: torch.dtype) -> None:
    ours, reference = ([nn.Parameter(draw(*shape)) for shape in SHAPES] for _ in range(2))
    optimizer = MuonOptimizer([group(ours)], LR, 0.95, scale, (0.9, 0.999), 1e-8, dtype)
    run(optimizer, ours)
    run(torch.optim.Muon(reference, lr=LR, weight_decay=DECAY, momentum=0.95, adjust_lr_fn=theirs), reference)
    for one, two, shape in zip(ours, reference, SHAPES, strict=True):
        assert (one - two).norm() < 0.05 * (two - draw(*shape)).norm()


def test_what_holds_no_matrix_is_learned_by_torch_s_adamw_to_the_bit() -> None:
    ours, theirs = ([nn.Parameter(draw(7, 5)), nn.Parameter(draw(9))] for _ in range(2))
    hidden = nn.Parameter(draw(4, 4))
    section = Muon(betas=(0.8, 0.95), eps=1e-6)
    optimizer = section.build([group([hidden]), group(ours, matrices=0)])
    set_lr(optimizer, LR)
    run(optimizer, ours)
    run(torch.optim.AdamW(theirs, LR, (0.8, 0.95), 1e-6, weight_decay=DECAY, fused=True), theirs)
    assert all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))
    assert torch.equal(hidden, draw(4, 4)), "no gradient, no step"


def test_stacked_matrices_take_the_steps_that_they_would_take_alone() -> None:
    parts = [nn.Parameter(draw(6, 6, seed=number)) for number in range(3)]
    stacked = nn.Parameter(torch.cat([part.detach() for part in parts]))
    alone, together = start(parts), start([stacked], matrices=3)
    for step in range(3):
        for number, part in enumerate(parts):
            part.grad = 10.0 ** (-3 * number) * draw(6, 6, seed=10 * step + number)
        stacked.grad = torch.cat([part.grad for part in parts])
        alone.step()
        together.step()
    torch.testing.assert_close(stacked, torch.cat(parts))


def test_as_one_matrix_a_part_with_small_gradients_would_hardly_move() -> None:
    stacked, grad = nn.Parameter(torch.zeros(18, 6)), draw(18, 6)
    grad[:6] *= 1e-3
    stacked.grad = grad
    start([stacked], matrices=1).step()
    assert stacked[:6].norm() < 0.01 * stacked[6:12].norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_is_about_a_fifth_of_the_rate_long_in_every_weight(shape: tuple[int, int]) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = 1e-5 * draw(*shape)
    start([weight]).step()
    assert 0.2 * 0.68 * LR < weight.detach().square().mean().sqrt() < 0.2 * 1.21 * LR


@pytest.mark.parametrize("skipped", [0, 2], ids=["the_first_step", "the_third_step"])
def test_a_step_that_is_not_finite_leaves_no_trace(skipped: int) -> None:
    def train(bad_step: int | None) -> list[Tensor]:
        params = [nn.Parameter(draw(9, 3)), nn.Parameter(draw(3, 4)), nn.Parameter(draw(5))]
        optimizer = Muon().build([group(params[:1], matrices=3), group(params[1:2]), group(params[2:], matrices=0)])
        for step in range(4):
            if step == bad_step:
                for parameter in params:
                    parameter.grad = torch.full_like(parameter, torch.nan)
                optimizer.found_inf = torch.ones(())
                optimizer.step()
            optimizer.found_inf = torch.zeros(())
            for number, parameter in enumerate(params):
                parameter.grad = draw(*parameter.shape, seed=100 * step + number)
            optimizer.step()
        moments = [value for parameter in params for value in optimizer.state[parameter].values()]
        assert len(moments) == 5
        return [*(parameter.detach() for parameter in params), *moments]

    assert all(torch.equal(one, two) for one, two in zip(train(None), train(skipped), strict=True))


def test_each_group_learns_at_its_own_rate_and_adamw_s_may_be_another() -> None:
    early, late, bias = nn.Parameter(torch.zeros(4, 4)), nn.Parameter(torch.zeros(4, 4)), nn.Parameter(torch.zeros(4))
    groups = [group([early], scale=0.25), group([late]), group([bias], matrices=0, scale=0.5)]
    optimizer = Muon(lr=0.02, adamw_lr=0.001).build(groups)
    set_lr(optimizer, 0.01)  # half way down the schedule
    early.grad = late.grad = draw(4, 4)
    bias.grad = torch.ones(4)
    optimizer.step()
    torch.testing.assert_close(early, 0.25 * late)
    torch.testing.assert_close(bias.detach(), torch.full((4,), -0.5 * 0.5 * 0.001))


def test_a_model_without_matrices_is_refused() -> None:
    with pytest.raises(RecipeError, match="none of them is trained here"):
        Muon().build([group([nn.Parameter(torch.zeros(3, 3, 1, 1))], matrices=0)])


def test_a_cpu_computes_in_float32() -> None:
    assert choose_dtype(torch.device("cpu")) is torch.float32
