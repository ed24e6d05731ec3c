"""Every trainable parameter learns in exactly one group, at its own rate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vit_cli.optim.adamw import AdamW
from vit_cli.optim.groups import ParamGroup, make_groups, set_lr

LAYERS = 3


def layer_of(name: str) -> int:
    return int(name.partition(".")[0])


def is_kernel(name: str, parameter: Tensor) -> bool:
    return parameter.ndim > 1


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 3), nn.Linear(3, 2))


def groups_of(net: nn.Module, weight_decay: float = 0.1, layer_decay: float = 1.0) -> list[ParamGroup]:
    return make_groups(
        net.named_parameters(),
        weight_decay=weight_decay,
        layer_decay=layer_decay,
        decays=is_kernel,
        layer_of=layer_of,
        layers=LAYERS,
    )


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_every_trainable_parameter_is_in_exactly_one_group(layer_decay: float) -> None:
    net = model()
    net[0].bias.requires_grad = False
    found = [id(parameter) for group in groups_of(net, layer_decay=layer_decay) for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in net.parameters() if parameter.requires_grad)


def test_only_kernels_decay() -> None:
    net = model()
    decay = {id(p): group["weight_decay"] for group in groups_of(net) for p in group["params"]}
    assert all(decay[id(p)] == (0.1 if p.ndim > 1 else 0.0) for p in net.parameters())


def test_without_layer_decay_two_groups_suffice() -> None:
    assert len(groups_of(model())) == 2


def test_without_any_decay_one_group_suffices() -> None:
    assert len(groups_of(model(), weight_decay=0.0)) == 1


def test_parameters_with_other_numbers_of_matrices_stand_apart() -> None:
    net = model()
    groups = make_groups(
        net.named_parameters(),
        weight_decay=0.1,
        layer_decay=1.0,
        decays=is_kernel,
        layer_of=layer_of,
        layers=LAYERS,
        matrices=lambda name, parameter: {"0.weight": 3, "2.weight": 1}.get(name, 0),
    )
    counts = {id(parameter): group["matrices"] for group in groups for parameter in group["params"]}
    assert [counts[id(net[layer].weight)] for layer in range(4)] == [3, 0, 1, 0]
    assert len({group["name"] for group in groups}) == len(groups) == 4


def test_group_names_differ() -> None:
    names = [group["name"] for group in groups_of(model(), layer_decay=0.75)]
    assert len(names) == len(set(names)) == 7


def test_a_layer_learns_slower_by_the_decay_for_every_layer_above_it() -> None:
    net = model()
    optimizer = AdamW().build(groups_of(net, layer_decay=0.5))
    set_lr(optimizer, 8.0)
    lr = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [lr[id(net[layer].weight)] for layer in range(4)] == [1.0, 2.0, 4.0, 8.0]


def test_a_layer_above_the_head_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.weight is said to be in layer 1"):
        make_groups(
            model().named_parameters(),
            weight_decay=0.1,
            layer_decay=1.0,
            decays=is_kernel,
            layer_of=layer_of,
            layers=0,
        )


def test_setting_the_rate_reaches_the_weights() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    group = ParamGroup(params=[weight], weight_decay=0.5, lr_scale=0.5, matrices=0, name="all")
    optimizer = AdamW().build([group])
    set_lr(optimizer, 0.2)
    weight.grad = torch.zeros(2, 2)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 1 - 0.2 * 0.5 * 0.5))
