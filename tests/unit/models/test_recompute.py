from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vit_cli.models.cct import Cct
from vit_cli.models.classifier import Classifier
from vit_cli.models.recompute import Recompute, recompute
from vit_cli.models.resnet import Resnet
from vit_cli.models.tnt import Tnt
from vit_cli.models.vit import Vit
from vit_cli.section import Section

SECTIONS: dict[str, Section] = {
    "vit": Vit(width=32, depth=3, heads=2, patch=8, res=32, dropout=0.1, drop_path=0.3, layer_scale=0.1),
    "cct": Cct(width=32, depth=2, heads=2, res=16, drop_path=0.3),
    "tnt": Tnt(width=32, depth=2, heads=2, inner_width=8, inner_heads=2, patch=8, word=4, res=32, drop_path=0.3),
}


def build(name: str, what: Recompute) -> Classifier:
    torch.manual_seed(0)
    model = SECTIONS[name].build(5)
    for parameter in model.parameters():  # zero heads would hide all gradients
        torch.nn.init.normal_(parameter, std=0.1)
    recompute(model, what)
    return model


def images_for(name: str) -> Tensor:
    side = SECTIONS[name].res
    return torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(1))


def train_once(model: Classifier, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(2)
    loss = model(images).square().sum()
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("what", ["mlp", "blocks"])
@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_recomputing_changes_no_bit_of_loss_or_gradient(name: str, what: Recompute) -> None:
    images = images_for(name)
    loss, gradients = train_once(build(name, "none"), images)
    again, others = train_once(build(name, what), images)
    assert torch.equal(loss, again)
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def bytes_kept(call: Callable[[], Tensor]) -> int:
    """Count the bytes that a forward pass leaves for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        output = call()
    del output
    return sum(kept.values())


def test_recomputing_keeps_less() -> None:
    images = images_for("vit")
    kept = {what: bytes_kept(lambda what=what: build("vit", what)(images)) for what in ("none", "mlp", "blocks")}
    assert kept["mlp"] < 0.7 * kept["none"]
    assert kept["blocks"] < 0.5 * kept["mlp"]


def test_recomputing_leaves_the_names_of_the_weights_and_evaluation_alone() -> None:
    images = images_for("vit")
    plain, less = build("vit", "none").eval(), build("vit", "blocks").eval()
    assert list(plain.state_dict()) == list(less.state_dict())
    with torch.inference_mode():
        assert torch.equal(plain(images), less(images))


def test_a_model_without_blocks_can_not_recompute_them() -> None:
    with pytest.raises(ValueError, match="ResNet has no blocks"):
        recompute(Resnet(size=18, res=32).build(2), "blocks")
