"""DeiT's model with a distillation token against timm's, with random weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models.adapt import load_weights, replace_head, stretch_tables
from vit_cli.models.deit import Deit, DistilledViT
from vit_cli.models.positions import Stretch

COUNTS = {"tiny": 5_910_800, "small": 22_436_432, "base": 87_338_192}
STRETCH = Stretch(mode="bicubic", antialias=True)
"""timm's way; DeiT's own has no antialiasing."""


def section(**changes: Any) -> Deit:
    fields = {"width": 24, "depth": 3, "heads": 3, "mlp": 48, "patch": 4, "res": (12, 20), "gelu": "exact"}
    return Deit(**fields | changes)


def build(classes: int = 5, **changes: Any) -> DistilledViT:
    """A tiny model, moved away from its zeros so that every weight matters."""
    torch.manual_seed(0)
    return moved(section(**changes).build(classes))


def moved(model: DistilledViT, by: float = 0.1) -> DistilledViT:
    """Add noise to every weight."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=by)
    return model


def images(res: tuple[int, int] = (12, 20), count: int = 2) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


def timm_names(model: DistilledViT, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename our weights as in timm, and put them into its shapes."""
    table = weights["positions.table"]
    kernel = weights["embedding.projection.weight"]
    state = {
        "cls_token": weights["cls"],
        "dist_token": weights["dist"],
        "pos_embed": torch.cat([weights["positions.prefix"], table], dim=1),
        "patch_embed.proj.weight": kernel.view(len(kernel), 3, model.patch, model.patch),
        "patch_embed.proj.bias": weights["embedding.projection.bias"],
    }
    for name, tensor in weights.items():
        if name.startswith(("blocks.", "norm.", "head")):
            state[name.replace("attention.qkv", "attn.qkv").replace("attention.out", "attn.proj")] = tensor
    return state


def load_timm(model: DistilledViT, name: str, **arguments: Any) -> Any:
    peer = timm.create_model(name, pretrained=False, **arguments)
    peer.load_state_dict(timm_names(model, model.state_dict()))
    return peer


def tiny_timm(model: DistilledViT, **arguments: Any) -> Any:
    shape = {"img_size": (12, 20), "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_ratio": 2.0}
    return load_timm(model, "deit_tiny_distilled_patch16_224", num_classes=5, **shape | arguments)


@pytest.mark.parametrize("size", COUNTS)
def test_parameters_are_as_many_as_published(size: str) -> None:
    with torch.device("meta"):
        model = Deit(size=size).build(1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[size]
    assert model.tokens == 198


def test_logits_are_those_of_timm() -> None:
    model = build().eval()
    peer = tiny_timm(model).eval()
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)
    pooled = peer.forward_head(peer.forward_features(images()), pre_logits=True)
    torch.testing.assert_close(model.features(images()), pooled, rtol=1e-5, atol=1e-5)


def test_logits_apart_are_those_of_timms_distilled_training() -> None:
    model = build().train()
    peer = tiny_timm(model).train()
    torch.testing.assert_close(model(images()), peer(images()), rtol=1e-5, atol=1e-5)
    peer.set_distilled_training(True)
    own, distilled = peer(images())
    torch.testing.assert_close(model(images(), apart=True), torch.stack([own, distilled]), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", COUNTS)
def test_every_size_answers_as_in_timm(size: str) -> None:
    torch.manual_seed(0)
    model = moved(Deit(size=size, gelu="exact").build(1000), by=0.02).eval()
    peer = load_timm(model, f"deit_{size}_distilled_patch16_224").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images((224, 224))), peer(images((224, 224))), rtol=1e-5, atol=1e-5)
        peer.train().set_distilled_training(True)
        both = torch.stack(peer(images((224, 224))))
        torch.testing.assert_close(model.train()(images((224, 224)), apart=True), both, rtol=1e-5, atol=1e-5)


def stretched(model: DistilledViT, source: Deit, target: Deit) -> DistilledViT:
    weights = stretch_tables(model.state_dict(), source.position_grids(), target.position_grids(), STRETCH).weights
    larger = target.build(model.head.out_features)
    load_weights(larger, weights)
    return larger


def test_a_stretched_model_answers_as_in_timm() -> None:
    """Both tokens' positions stay as they are; timm stretches the rest itself."""
    model = build(res=16)
    larger = stretched(model, section(res=16), section(res=24)).eval()
    peer = tiny_timm(model, img_size=16, dynamic_img_size=True).eval()
    torch.testing.assert_close(larger(images((24, 24))), peer(images((24, 24))), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_model_stretched_to_384_pixels_answers_as_in_timm() -> None:
    torch.manual_seed(0)
    source, target = (Deit(size="tiny", res=res, gelu="exact") for res in (224, 384))
    model = moved(source.build(1000), by=0.02)
    peer = load_timm(model, "deit_tiny_distilled_patch16_224", dynamic_img_size=True).eval()
    with torch.no_grad():
        ours = stretched(model, source, target).eval()(images((384, 384)))
        torch.testing.assert_close(ours, peer(images((384, 384))), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_one_answer_is_the_mean_of_both_in_every_mode(mode: bool) -> None:
    model = build().train(mode)
    own, distilled = model(images(), apart=True)
    torch.testing.assert_close(model(images()), (own + distilled) / 2)
    assert not torch.equal(own, distilled)


def test_the_first_loss_is_that_of_knowing_nothing() -> None:
    logits = section().build(5)(images(), apart=True)
    assert logits.shape == (2, 2, 5)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 4, 1, 2]))
    assert loss.item() == pytest.approx(math.log(5), abs=1e-6)


@pytest.mark.parametrize("positions", ["learned", "sincos2d", "none"])
def test_both_tokens_learn_different_things_without_a_teacher(positions: str) -> None:
    """Even without positions of their own: equal tokens with equal heads would stay equal for ever."""
    torch.manual_seed(0)
    model = section(positions=positions).build(5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        nn.functional.cross_entropy(model(images()), torch.tensor([0, 1])).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.equal(model.head.weight, model.head_dist.weight)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_both_heads_are_replaced_for_other_classes(head: str) -> None:
    model, other = build(head=head), section(head=head).build(7)
    load_weights(other, replace_head(model.state_dict(), other))
    assert torch.equal(other(images()), torch.zeros(2, 7))
    torch.testing.assert_close(other.features(images()), model.features(images()))


def test_registers_come_after_both_tokens() -> None:
    model = build(registers=2)
    assert model.tokens == 2 + 2 + 15
    tokens = model.embed(images())
    torch.testing.assert_close(tokens[:, :2], torch.cat([model.cls, model.dist], dim=1).expand(2, -1, -1))
    torch.testing.assert_close(tokens[:, 2:4], model.registers.expand(2, -1, -1))
    assert model.positions.prefix.shape == (1, 2, 24)


def test_layers_and_decay_know_the_new_parameters() -> None:
    model = build()
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert [layers[name] for name in ("dist", "cls", "head.weight", "head_dist.weight")] == [0, 0, 4, 4]
    decayed = {name for name, parameter in model.named_parameters() if model.decays(name, parameter)}
    assert {"head_dist.weight"} <= decayed
    assert not {"dist", "head_dist.bias"} & decayed


def test_a_model_without_heads_gives_its_features() -> None:
    model = build(classes=0)
    torch.testing.assert_close(model(images()), model.features(images()))


def test_flops_are_those_that_torch_counts() -> None:
    model = build().eval()
    model.seen = None  # what is not seen counts, too
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(images(count=1))
    assert model.flops() == counter.get_total_flops()


def test_only_the_tokens_can_be_pooled() -> None:
    with pytest.raises(ValidationError):
        section(pool="gap")
    with pytest.raises(ValidationError, match="class token"):
        section(cls_token=False)
