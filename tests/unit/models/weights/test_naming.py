"""Rules between names: both directions, numbers, and what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from vit_cli.cli.import_weights import FAMILIES
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.models.vit import Vit
from vit_cli.models.weights.convert import FUSE, FUSE_TWO, PATCHES, SAME, TRANSPOSE, Conversion, one_way, split
from vit_cli.models.weights.known import NAMINGS, find_naming, recognise
from vit_cli.models.weights.naming import Foreign, Naming, Rule, layer, rule, to_ours, to_theirs, translate
from vit_cli.models.weights.torchvision_vit import TorchvisionVit


def test_the_help_of_as_lists_every_naming() -> None:
    assert tuple(naming.name for naming in NAMINGS) == FAMILIES


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"architectures": ["CLIPModel"], "model_type": "clip"}, "CLIPModel"),
        ({"model_type": "swin"}, "swin"),
        ({"architecture": "swin_tiny_patch4_window7_224"}, "swin_tiny_patch4_window7_224"),
    ],
)
def test_a_model_that_only_a_config_names_is_refused_by_that_name(config: dict[str, Any], name: str) -> None:
    with pytest.raises(CheckpointError, match=f"config.json names {name}, which vit does not have") as told:
        recognise(Foreign({"layers.0.x": torch.ones(1)}, config))
    assert "timm's ViT" in told.value.hint


def run(tensors: Mapping[str, Tensor], *rules: Rule) -> Mapping[str, Tensor]:
    return translate(tensors, [(r.theirs, r.ours, r.convert.forward) for r in rules]).tensors


def back(tensors: Mapping[str, Tensor], *rules: Rule) -> Mapping[str, Tensor]:
    return translate(tensors, [(r.ours, r.theirs, r.convert.backward) for r in rules]).tensors


@pytest.mark.parametrize(
    ("convert", "shapes"),
    [
        (SAME, [(2, 3)]),
        (TRANSPOSE, [(2, 3)]),
        (PATCHES, [(5, 3, 4, 4)]),
        (FUSE, [(2, 3), (2, 3), (2, 3)]),
        (FUSE_TWO, [(4,), (4,)]),
        (split(1), [(1, 10, 3)]),
        (split(2), [(1, 11, 3)]),
    ],
)
def test_every_conversion_has_its_inverse(convert: Conversion, shapes: list[tuple[int, ...]]) -> None:
    given = [torch.randn(shape) for shape in shapes]
    again = convert.backward(convert.forward(given))
    assert len(again) == len(given)
    assert all(torch.equal(one, other) for one, other in zip(again, given, strict=True))


def test_a_patch_kernel_unrolls_as_a_convolution_does() -> None:
    kernel, image = torch.randn(5, 3, 4, 4), torch.randn(1, 3, 4, 4)
    (matrix,) = PATCHES.forward([kernel])
    torch.testing.assert_close(image.flatten(1) @ matrix.T, torch.conv2d(image, kernel).flatten(1))


def test_numbers_may_be_shifted_between_names() -> None:
    pair = rule("block{b+1}/unit{u+1}", "stages.{b}.{u}")
    theirs = {"block1/unit1": torch.ones(1), "block12/unit3": torch.ones(2)}
    ours = run(theirs, pair)
    assert ours.keys() == {"stages.0.0", "stages.11.2"}
    assert back(ours, pair).keys() == theirs.keys()


def test_names_are_compared_as_a_whole_and_to_the_letter() -> None:
    assert run({"axb": torch.ones(1), "a.b.c": torch.ones(1), "a.1b": torch.ones(1)}, rule("a.b", "y")) == {}
    assert run({"a.01x": torch.ones(1)}, rule("a.{i}", "y.{i}")) == {}


def test_rules_that_find_nothing_are_skipped_and_the_first_one_wins() -> None:
    tensors = {"a": torch.ones(1)}
    assert run(tensors, rule("b", "x"), rule("a", "y"), rule("a", "z")).keys() == {"y"}


def test_tensors_that_belong_together_must_all_be_there() -> None:
    fused = rule(["{i}.q", "{i}.k", "{i}.v"], "{i}.qkv", FUSE)
    with pytest.raises(ValueError, match=r"0\.k: missing"):
        run({"0.q": torch.ones(2), "0.v": torch.ones(2)}, fused)


def test_two_names_for_one_tensor_are_refused() -> None:
    with pytest.raises(ValueError, match="is there under another name too"):
        run({"new": torch.ones(1), "old": torch.ones(1)}, rule("new", "w"), rule("old", "w"))


def test_a_strange_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"conv\.weight of 2x3 has a strange shape"):
        run({"conv.weight": torch.ones(2, 3)}, *layer("conv", "ours", PATCHES))


def test_there_may_be_no_way_back() -> None:
    with pytest.raises(ValueError, match="no way back"):
        back({"b": torch.ones(1)}, rule("a", "b", one_way(lambda tensors: tensors)))


def small() -> Vit:
    return Vit(width=128, depth=1, heads=2, patch=8, res=16)


def test_weights_without_a_name_there_are_refused_on_the_way_out() -> None:
    weights = dict(small().build(3).state_dict())
    assert to_theirs(TorchvisionVit(), small(), weights)["heads.head.weight"].shape == (3, 128)
    with pytest.raises(ValueError, match=r"torchvision's ViT has no name for registers"):
        to_theirs(TorchvisionVit(), small(), weights | {"registers": torch.zeros(1, 4, 128)})


def test_out_and_in_again_changes_nothing() -> None:
    section = small()
    weights = {name: torch.randn_like(tensor) for name, tensor in section.build(3).state_dict().items()}
    theirs = to_theirs(TorchvisionVit(), section, weights)
    again, lines = to_ours(TorchvisionVit(), Foreign(theirs), section)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    assert lines[0].startswith(f"loaded  {len(theirs)} tensors")


class Strangers(TorchvisionVit):
    """Knows no name."""

    def rules(self, section: Vit) -> list[Rule]:
        return []


def test_nothing_that_matches_is_an_error() -> None:
    theirs = to_theirs(TorchvisionVit(), small(), dict(small().build(3).state_dict()))
    with pytest.raises(CheckpointError, match="no tensor has a name of torchvision's ViT"):
        to_ours(Strangers(), Foreign(theirs), small())


def test_namings_have_names_of_their_own() -> None:
    names = [naming.name for naming in NAMINGS]
    assert len(set(names)) == len(names) > 10
    assert [find_naming(name).name for name in names] == names
    with pytest.raises(UsageError):
        find_naming("")


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.name)
def test_no_naming_recognises_nothing(naming: Naming[Any]) -> None:
    assert not naming.recognises(Foreign({}))
    assert not naming.recognises(Foreign({"a": torch.ones(1)}, config={"architectures": 5, "architecture": None}))


def test_no_tensor_at_all_is_said() -> None:
    with pytest.raises(CheckpointError, match="no tensor at all"):
        recognise(Foreign({}))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_become_float32(kind: torch.dtype) -> None:
    theirs = to_theirs(TorchvisionVit(), small(), dict(small().build(3).state_dict()))
    ours, _ = to_ours(TorchvisionVit(), Foreign({name: t.to(kind) for name, t in theirs.items()}), small())
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
