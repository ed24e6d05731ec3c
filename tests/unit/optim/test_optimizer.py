"""The optimisers against plain loops in float64 on one number at a time, and across a save."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from vit_cli.optim.adamw import AdamW
from vit_cli.optim.groups import ParamGroup, set_lr
from vit_cli.optim.lamb import Lamb
from vit_cli.optim.muon import Muon
from vit_cli.optim.optimizer import Optimizer
from vit_cli.optim.sgd import Sgd

SECTIONS = [
    AdamW(weight_decay=0.1),
    Sgd(weight_decay=0.1),
    Sgd(weight_decay=0.1, nesterov=True),
    Sgd(momentum=0.0),
    Lamb(weight_decay=0.1),
    Muon(weight_decay=0.1),
]
DECAY = 0.1
LR = 0.05
Plain = Callable[[list[float], list[list[float]], float], list[float]]


def weights() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.randn(3))]


def start(section: Optimizer, params: list[nn.Parameter]) -> torch.optim.Optimizer:
    decayed = ParamGroup(params=params[:2], weight_decay=DECAY, lr_scale=1.0, matrices=1, name="kernels")
    others = ParamGroup(params=params[2:], weight_decay=0.0, lr_scale=1.0, matrices=0, name="others")
    optimizer = section.build([decayed, others])
    set_lr(optimizer, LR)
    return optimizer


def gradient(parameter: Tensor, step: int, number: int) -> Tensor:
    return torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * step + number))


def run(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for number, parameter in enumerate(params):
            parameter.grad = gradient(parameter, step, number)
        optimizer.step()


def plain_adamw(w: list[float], grads: list[list[float]], decay: float) -> list[float]:
    m, v = [0.0] * len(w), [0.0] * len(w)
    for t, g in enumerate(grads, start=1):
        for i in range(len(w)):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g[i], 0.999 * v[i] + 0.001 * g[i] ** 2
            u = m[i] / (1 - 0.9**t) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
            w[i] -= LR * (u + decay * w[i])
    return w


def plain_lamb(w: list[float], grads: list[list[float]], decay: float) -> list[float]:
    m, v = [0.0] * len(w), [0.0] * len(w)
    for t, g in enumerate(grads, start=1):
        u = []
        for i in range(len(w)):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g[i], 0.999 * v[i] + 0.001 * g[i] ** 2
            u.append(m[i] / (1 - 0.9**t) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-6) + decay * w[i])
        length, ratio = math.hypot(*w), 1.0
        if decay and length:
            ratio = length / math.hypot(*u)
        w = [w[i] - LR * ratio * u[i] for i in range(len(w))]
    return w


def plain_sgd(w: list[float], grads: list[list[float]], decay: float, nesterov: bool = False) -> list[float]:
    momentum = [0.0] * len(w)
    for g in grads:
        for i in range(len(w)):
            full = g[i] + decay * w[i]
            momentum[i] = 0.9 * momentum[i] + full
            w[i] -= LR * (full + 0.9 * momentum[i] if nesterov else momentum[i])
    return w


def plain_nesterov(w: list[float], grads: list[list[float]], decay: float) -> list[float]:
    return plain_sgd(w, grads, decay, nesterov=True)


@pytest.mark.parametrize(
    ("section", "plain"),
    [(AdamW(), plain_adamw), (Lamb(), plain_lamb), (Sgd(), plain_sgd), (Sgd(nesterov=True), plain_nesterov)],
)
def test_ten_steps_equal_a_plain_loop(section: AdamW | Sgd | Lamb, plain: Plain) -> None:
    params = weights()
    expected = []
    for number, (parameter, decay) in enumerate(zip(params, [DECAY, DECAY, 0.0], strict=True)):
        grads = [gradient(parameter, step, number).flatten().tolist() for step in range(10)]
        expected.append(plain(parameter.detach().flatten().tolist(), grads, decay))
    run(start(section, params), params, range(10))
    for parameter, values in zip(params, expected, strict=True):
        torch.testing.assert_close(parameter.detach().flatten(), torch.tensor(values), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("section", SECTIONS, ids=repr)
def test_a_saved_optimizer_goes_on_bit_for_bit(section: Optimizer) -> None:
    straight = weights()
    run(start(section, straight), straight, range(6))

    params = weights()
    optimizer = start(section, params)
    run(optimizer, params, range(3))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = start(section, params)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    run(resumed, params, range(3, 6))

    assert all(torch.equal(one, two) for one, two in zip(params, straight, strict=True))


def test_lamb_steps_as_far_as_its_weights_are_long() -> None:
    weight = nn.Parameter(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    optimizer = Lamb().build([ParamGroup(params=[weight], weight_decay=0.1, lr_scale=1.0, matrices=0, name="kernel")])
    set_lr(optimizer, 0.01)
    weight.grad = 1e-3 * torch.ones(5, 5)
    optimizer.step()
    torch.testing.assert_close((weight.detach() - before).norm(), 0.01 * before.norm())


def test_lamb_without_weight_decay_is_adam() -> None:
    ours, theirs = weights(), weights()
    group = ParamGroup(params=list(ours), weight_decay=0.0, lr_scale=1.0, matrices=0, name="all")
    run(Lamb(lr=0.01).build([group]), ours, range(5))
    run(torch.optim.Adam(theirs, lr=0.01, eps=1e-6), theirs, range(5))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two)


def test_lamb_leaves_a_parameter_without_a_gradient_alone() -> None:
    used, unused = weights()[0], weights()[0]
    optimizer = Lamb().build(
        [ParamGroup(params=[used, unused], weight_decay=0.1, lr_scale=1.0, matrices=0, name="all")]
    )
    before = unused.detach().clone()
    used.grad = torch.ones(3, 2)
    optimizer.step()
    assert torch.equal(unused, before)
    assert not torch.equal(used, before)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb", "muon"])
def test_a_recipe_names_the_optimizer(name: str) -> None:
    section = TypeAdapter(Optimizer).validate_python({"name": name, "lr": 0.5, "layer_decay": 0.75})
    assert (section.name, section.lr, section.layer_decay) == (name, 0.5, 0.75)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "adamw", "lr": 0.0},
        {"name": "adamw", "betas": (0.9, 1.0)},
        {"name": "adamw", "layer_decay": 0.0},
        {"name": "lamb", "layer_decay": 1.1},
        {"name": "sgd", "weight_decay": -0.1},
        {"name": "sgd", "momentum": 0.0, "nesterov": True},
        {"name": "sgd", "betas": (0.9, 0.99)},
        {"name": "muon", "momentum": 1.0},
        {"name": "muon", "scale": "original"},
        {"name": "muon", "adamw_lr": 0.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Optimizer).validate_python(bad)


@pytest.mark.parametrize("section", SECTIONS, ids=str)
@pytest.mark.parametrize("skipped", [0, 2], ids=["the_first_step", "the_third_step"])
def test_a_step_that_is_not_finite_leaves_no_trace(section: Optimizer, skipped: int) -> None:
    def train(bad_step: int | None) -> list[Tensor]:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(3, 4))
        optimizer = section.build([{"params": [weight], "weight_decay": 0.1, "lr_scale": 1.0, "matrices": 1}])
        for number in range(5):
            if number == bad_step:
                weight.grad = torch.full_like(weight, float("nan"))
                optimizer.found_inf = torch.ones(())
                optimizer.step()
            torch.manual_seed(number)
            weight.grad = torch.randn(3, 4)
            optimizer.found_inf = torch.zeros(())
            optimizer.step()
        return [weight.detach(), *(value for value in optimizer.state[weight].values() if value is not None)]

    assert all(torch.equal(one, two) for one, two in zip(train(None), train(skipped), strict=True))
