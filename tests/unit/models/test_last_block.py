"""A last block that works out what the heads see, against the whole block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vit_cli.models.cct import Cct
from vit_cli.models.classifier import Classifier
from vit_cli.models.deit import Deit
from vit_cli.models.drop_tokens import DropTokens
from vit_cli.models.layers import DropPath
from vit_cli.models.recompute import Recompute, recompute
from vit_cli.models.tnt import Tnt
from vit_cli.models.vit import Vit

DIMS: dict[str, Any] = {"width": 24, "depth": 2, "heads": 2, "patch": 4, "res": 16}
TNT: dict[str, Any] = DIMS | {"inner_width": 8, "inner_heads": 2, "word": 2}
KINDS: dict[str, Vit | Deit | Tnt | Cct] = {
    "plain": Vit(**DIMS),
    "deit": Deit(**DIMS),
    "norm after": Vit(**DIMS, pool_norm="after"),
    "relative": Vit(**DIMS, positions="relative"),
    "relative shared": Vit(**DIMS, positions="relative", positions_at="shared"),
    "rope, registers, no bias": Vit(**DIMS, positions="rope", registers=2, qkv_bias=False),
    "windows": Vit(**DIMS, attention="window", window=3),
    "axes": Vit(**DIMS, attention="axial"),
    "norms and scales": Vit(**DIMS, qk_norm=True, layer_scale=0.5, ffn="swiglu"),
    "tnt": Tnt(**TNT),
    "cct": Cct(width=24, depth=2, heads=2, mlp=48, kernel=3, convolutions=1, pool="cls", res=16),
}


def build(section: Vit | Deit | Tnt | Cct) -> Classifier:
    """Build a model whose every weight matters."""
    torch.manual_seed(0)
    model = section.build(5).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def learn(model: Classifier, images: Tensor) -> dict[str, Tensor]:
    """Give the gradient of every parameter."""
    model.zero_grad()
    torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 3, 1])).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("section", KINDS.values(), ids=KINDS)
def test_answers_and_gradients_are_those_of_the_whole_block(section: Vit | Deit | Tnt | Cct) -> None:
    model, images = build(section), torch.randn(3, 3, 16, 16)
    shapes: list[torch.Size] = []
    model.blocks[-1].register_forward_hook(
        lambda _module, _inputs, output: shapes.append((output[-1] if isinstance(output, tuple) else output).shape)
    )
    seen, least, gradients = model.seen, model(images), learn(model, images)
    assert seen == (2 if isinstance(section, Deit) else 1)
    assert {shape[1] for shape in shapes} == {seen}
    shapes.clear()
    model.seen = None
    torch.testing.assert_close(least, model(images), rtol=1e-4, atol=1e-5)
    whole = learn(model, images)
    assert {shape[1] for shape in shapes} == {model.tokens}
    assert gradients.keys() == whole.keys() == dict(model.named_parameters()).keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-3, atol=1e-4 * whole[name].abs().max().item() + 1e-7)


@pytest.mark.parametrize("section", [*KINDS.values(), Vit(**DIMS, pool="gap")], ids=[*KINDS, "gap"])
def test_a_process_without_images_gets_no_answers(section: Vit | Deit | Tnt | Cct) -> None:
    """Evaluation on several processes gives some of them empty batches."""
    with torch.no_grad():
        assert build(section)(torch.zeros(0, 3, 16, 16)).shape == (0, 5)


@pytest.mark.parametrize("positions", ["learned", "rope"])
@pytest.mark.parametrize("what", ["none", "mlp", "blocks"])
def test_it_goes_with_recomputation_and_with_patches_left_out(positions: Any, what: Recompute) -> None:
    model, images = build(Vit(**DIMS, positions=positions)).train(), torch.randn(3, 3, 16, 16)
    model.drop_tokens = DropTokens(0.5, model.prefix)
    recompute(model, what)
    torch.manual_seed(2)
    least = learn(model, images)
    model.seen = None
    torch.manual_seed(2)
    for name, gradient in learn(model, images).items():
        torch.testing.assert_close(least[name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item() + 1e-7)


@pytest.mark.parametrize("pool", ["gap", "map", "cls_gap"])
def test_models_whose_heads_read_patches_work_out_all(pool: Any) -> None:
    assert build(Vit(**DIMS, pool=pool)).seen is None


def test_tokens_are_all_there_for_whoever_asks_for_them() -> None:
    model, images = build(Vit(**DIMS)), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        tokens = model.encode(images)
        assert tokens.shape == (3, model.tokens, 24)
        torch.testing.assert_close(model.encode(images, 1), tokens[:, :1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_stochastic_depth_leaves_out_the_same_images(rate: float) -> None:
    model, images = build(Vit(**DIMS, drop_path=rate, drop_path_rule="constant")).train(), torch.randn(16, 3, 16, 16)
    assert any(isinstance(module, DropPath) and module.rate == rate for module in model.modules())
    torch.manual_seed(1)
    least = model(images)
    model.seen = None
    torch.manual_seed(1)
    torch.testing.assert_close(least, model(images), rtol=1e-4, atol=1e-5)


def test_attention_is_dropped_in_training_alone() -> None:
    model, images = build(Vit(**DIMS, attention_dropout=0.5)), torch.randn(3, 3, 16, 16)
    assert torch.equal(model(images), model(images))
    last = model.blocks[-1].attention
    model.eval()
    last.train()
    assert not torch.equal(model(images), model(images))
