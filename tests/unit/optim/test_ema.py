"""The average of the weights against its recursion, and its exchange with the weights."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn

from vit_cli.errors import CheckpointError
from vit_cli.optim.ema import Ema, NoEma

TAKEN = torch.zeros(())


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def ema_of(net: nn.Module, decay: float = 0.9, warmup: bool = False) -> Ema:
    return Ema(net.named_parameters(), decay, warmup)


def move(net: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_follows_its_recursion(warmup: bool) -> None:
    net = model()
    ema = ema_of(net, 0.6, warmup)
    expected = net[0].weight.detach().double().clone()
    for step in range(20):
        move(net, step)
        ema.update(ema.weight_at(step), TAKEN)
        decay = min(0.6, (1 + step) / (10 + step)) if warmup else 0.6
        expected = decay * expected + (1 - decay) * net[0].weight.detach().double()
    torch.testing.assert_close(ema.state()["0.weight"].double(), expected, rtol=1e-5, atol=1e-5)


def test_the_average_of_a_jump_closes_in_geometrically() -> None:
    weight = nn.Parameter(torch.zeros(()))
    ema = Ema([("weight", weight)], 0.9, warmup=False)
    nn.init.ones_(weight)
    for step in range(7):
        ema.update(ema.weight_at(step), TAKEN)
    assert ema.state()["weight"].item() == pytest.approx(1 - 0.9**7)


def test_the_warm_up_ends_at_the_full_decay() -> None:
    ema = ema_of(model(), 0.9, warmup=True)
    assert ema.decay_at(0) == pytest.approx(0.1)
    assert ema.decay_at(79) < 0.9
    assert ema.decay_at(80) == pytest.approx(0.9)
    assert ema.decay_at(10_000) == 0.9


def test_swapping_shows_the_averages_and_the_models_own_buffers() -> None:
    net = model()
    ema = ema_of(net)
    move(net, 1)
    net[1].running_mean.fill_(7.0)
    with ema.swapped(net):
        assert all(torch.equal(parameter, ema.state()[name]) for name, parameter in net.named_parameters())
        assert net[1].running_mean.tolist() == [7.0, 7.0, 7.0]


def test_swapping_gives_the_weights_back_bit_for_bit() -> None:
    net = model()
    ema = ema_of(net)
    move(net, 1)
    ema.update(ema.weight_at(0), TAKEN)
    live, averages = weights(net), {name: average.clone() for name, average in ema.state().items()}
    with pytest.raises(KeyboardInterrupt), ema.swapped(net):
        raise KeyboardInterrupt
    assert all(torch.equal(value, live[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(value, averages[name]) for name, value in ema.state().items())


def test_a_saved_average_goes_on_bit_for_bit() -> None:
    straight = model()
    one = ema_of(straight, warmup=True)
    for step in range(6):
        move(straight, step)
        one.update(one.weight_at(step), TAKEN)

    net = model()
    first = ema_of(net, warmup=True)
    for step in range(3):
        move(net, step)
        first.update(first.weight_at(step), TAKEN)
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    second = ema_of(net, warmup=True)
    second.load(torch.load(file, weights_only=True))
    for step in range(3, 6):
        move(net, step)
        second.update(second.weight_at(step), TAKEN)

    assert all(torch.equal(value, one.state()[name]) for name, value in second.state().items())


def test_averages_of_another_model_are_refused() -> None:
    ema = ema_of(model())
    with pytest.raises(CheckpointError, match=r"'2\.bias' for one"):
        ema.load(ema_of(nn.Sequential(*model(), nn.Linear(3, 1))).state())
    with pytest.raises(CheckpointError, match=r"'0\.weight' are \(3, 5\), but the model's are \(3, 2\)"):
        ema.load(ema_of(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))).state())


def test_no_average_changes_nothing() -> None:
    net = model()
    before = weights(net)
    ema = NoEma()
    ema.update(ema.weight_at(0), TAKEN)
    ema.load(ema.state())
    with ema.swapped(net):
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert ema.state() == {}


def test_a_skipped_step_leaves_the_average_as_it_was() -> None:
    net = model()
    ema = ema_of(net)
    move(net, 1)
    ema.update(ema.weight_at(0), TAKEN)
    before = {name: average.clone() for name, average in ema.state().items()}
    move(net, 2)
    ema.update(ema.weight_at(1), torch.ones(()))
    assert all(torch.equal(average, before[name]) for name, average in ema.state().items())
