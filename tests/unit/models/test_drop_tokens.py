"""What is trained without some of its patches is the model of those that stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vit_cli.models.deit import Deit
from vit_cli.models.drop_tokens import DropTokens, count_kept
from vit_cli.models.hybrid import Hybrid
from vit_cli.models.vit import ViT, Vit

KINDS: list[dict[str, Any]] = [
    {"pool": "cls"},
    {"pool": "map", "positions": "sincos2d", "registers": 2},
    {"pool": "cls_gap", "positions": "learned2d", "cls_position": False, "qk_norm": True},
    {"pool": "gap", "positions": "rope", "cls_token": True, "registers": 1},
    {"pool": "gap", "positions": "none", "pool_norm": "after", "ffn": "swiglu", "layer_scale": 0.1},
]
SECTIONS = {"vit": Vit, "deit": Deit, "hybrid": Hybrid}
FIELDS: dict[str, dict[str, Any]] = {"vit": {"patch": 4}, "deit": {"patch": 4}, "hybrid": {"backbone": "stem"}}


def build(name: str = "vit", **changes: Any) -> ViT:
    """A tiny model of 4 x 6 patches in training, moved away from its zeros so that every weight matters."""
    torch.manual_seed(0)
    fields = {"width": 24, "depth": 2, "heads": 2, "mlp": 48, "res": (16, 24)}
    model: ViT = SECTIONS[name](**fields | FIELDS[name] | changes).build(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.train()


def images(count: int = 3, res: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


def places_of(kept: Tensor, tokens: Tensor) -> list[list[int]]:
    """Where in each image the tokens that stayed came from, found by comparing them."""
    return [
        [int((image == token).all(-1).nonzero()) for token in rest] for image, rest in zip(tokens, kept, strict=True)
    ]


@pytest.mark.parametrize(
    ("patches", "share", "kept"), [(196, 0.5, 98), (196, 0.75, 49), (196, 5 / 196, 191), (10, 0.0, 10), (3, 0.99, 1)]
)
def test_the_number_of_patches_that_stay_is_exact(patches: int, share: float, kept: int) -> None:
    assert count_kept(patches, share) == kept
    x, _ = DropTokens(share, prefix=2)(torch.randn(4, 2 + patches, 3), None)
    assert x.shape == (4, 2 + kept, 3)


def test_prefix_tokens_stay_first_and_patches_are_other_ones_in_every_image() -> None:
    tokens = torch.randn(6, 2 + 20, 3)
    kept, _ = DropTokens(0.5, prefix=2)(tokens, None)
    places = places_of(kept, tokens)
    assert all(where[:2] == [0, 1] for where in places)
    assert all(len(set(where)) == 12 for where in places)
    assert len({tuple(sorted(where)) for where in places}) == 6


def test_every_patch_stays_equally_often_with_its_rotation() -> None:
    count, patches, share = 4000, 8, 0.25
    tokens = torch.arange(1.0 + patches).expand(count, -1)[:, :, None]
    kept, turns = DropTokens(share, prefix=1)(tokens, 10 * tokens[:1])
    assert turns is not None
    assert torch.equal(turns, 10 * kept)
    times = kept[:, 1:].long().flatten().bincount(minlength=1 + patches)[1:] / count
    five_sigma = 5 * (share * (1 - share) / count) ** 0.5
    assert (times - (1 - share)).abs().max() < five_sigma


def test_evaluation_sees_all_patches() -> None:
    model = build()
    whole = model.eval()(images())
    model.drop_tokens = DropTokens(0.5, model.prefix).eval()
    assert torch.equal(model(images()), whole)


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_order_in_which_patches_stay_is_seen_by_nothing(name: str, kind: dict[str, Any]) -> None:
    """Without any that is left out, only their order changes: places are in positions and rotations alone."""
    if name == "deit" and kind["pool"] != "cls":
        kind = kind | {"pool": "cls", "cls_token": True}
    model = build(name, **kind)
    whole = model(images())
    model.drop_tokens = DropTokens(0.0, model.prefix)
    torch.testing.assert_close(model(images()), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["gap", "map", "cls_gap"])
def test_what_stays_is_seen_as_if_the_rest_had_never_been(pool: str) -> None:
    """Without positions an image of 4 patches of 24 is the same to the model as a smaller image made of these 4."""
    model, seen = build(pool=pool, positions="none"), []
    model.drop_tokens = DropTokens(20 / 24, model.prefix)
    model.drop_tokens.register_forward_hook(lambda module, given, kept: seen.append((kept[0], given[0])))
    dropped = model(images())
    places = [[place - model.prefix for place in where[model.prefix :]] for where in places_of(*seen[0])]
    patches = images().reshape(3, 3, 4, 4, 6, 4).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (b, n, 3, 4, 4)
    few = torch.stack([image[where] for image, where in zip(patches, places, strict=True)])
    small = few.reshape(3, 2, 2, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(3, 3, 8, 8)
    alone = build(pool=pool, positions="none", res=8)
    alone.load_state_dict(model.state_dict())
    torch.testing.assert_close(dropped, alone(small), rtol=1e-4, atol=1e-5)


def test_rotations_of_each_image_go_with_dropout_and_drop_path() -> None:
    model = build(positions="rope", pool="gap", drop_path=0.5, dropout=0.1, attention_dropout=0.1)
    model.drop_tokens = DropTokens(0.5, model.prefix)
    model(images(16)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_same_seed_leaves_out_the_same_patches() -> None:
    model, logits = build(), []
    model.drop_tokens = DropTokens(0.5, model.prefix)
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        logits.append(model(images()))
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])


@pytest.mark.parametrize(("name", "pool"), [("vit", "gap"), ("vit", "map"), ("deit", "cls"), ("hybrid", "cls")])
def test_operations_are_those_of_half_the_patches_after_an_embedding_of_all(name: str, pool: str) -> None:
    whole, half = build(name, pool=pool), build(name, pool=pool, res=(16, 12))
    embedding = 2 * 12 * whole.embedding.projection.weight.numel()
    if name == "hybrid":
        embedding += sum(whole.embedding.operations) - sum(half.embedding.operations)
    assert whole.flops(drop_tokens=0.5) == half.flops() + embedding
