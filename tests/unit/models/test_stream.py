"""The residual stream in bfloat16."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vit_cli.models.norm import Norm
from vit_cli.models.resnet import Resnet
from vit_cli.models.stream import narrow_stream
from vit_cli.models.vit import ViT, Vit


def make(narrow: bool, **fields: object) -> ViT:
    torch.manual_seed(0)
    settings = {"width": 32, "depth": 3, "heads": 2, "patch": 4, "res": 16, **fields}
    model = Vit.model_validate(settings).build(4)
    nn.init.normal_(model.get_parameter("head.weight"), std=0.1)  # the head starts at zero, and would hide everything
    if narrow:
        narrow_stream(model)
    return model


def types_of_blocks(model: ViT) -> set[torch.dtype]:
    seen: set[torch.dtype] = set()
    for block in model.blocks:
        block.register_forward_hook(lambda _m, args, out: seen.update((args[0].dtype, out.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(2, 3, 16, 16))
    return seen


@pytest.mark.skipif(torch.version.cuda is None, reason="this torch knows no GPU, not even in name")
def test_a_norm_on_a_gpu_is_not_widened_by_autocast() -> None:
    with FakeTensorMode(), torch.device("cuda"):  # types are worked out, and no GPU is needed
        norm, x = Norm(8), torch.empty(2, 3, 8, dtype=torch.bfloat16)
        torch.set_autocast_enabled("cuda", True)
        try:
            found = norm(x), norm(x.float()), nn.LayerNorm(8)(x)
        finally:
            torch.set_autocast_enabled("cuda", False)
    assert [out.dtype for out in found] == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize("fields", [{}, {"pool": "gap"}, {"layer_scale": 0.1}, {"registers": 2, "drop_path": 0.5}])
def test_tokens_between_blocks_are_narrow_only_if_asked(fields: dict[str, object]) -> None:
    assert types_of_blocks(make(narrow=True, **fields)) == {torch.bfloat16}
    assert torch.float32 in types_of_blocks(make(narrow=False, **fields))


def test_positions_in_every_layer_keep_the_stream_narrow() -> None:
    assert types_of_blocks(make(narrow=True, positions_at="layers")) == {torch.bfloat16}


def test_without_autocast_nothing_changes() -> None:
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(make(narrow=True)(images), make(narrow=False)(images))


def test_a_narrow_norm_is_that_of_float32_rounded() -> None:
    torch.manual_seed(1)
    norm = Norm(48)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 48).bfloat16().requires_grad_()
    wide = x.detach().float().requires_grad_()
    out, expected = norm(x), F.layer_norm(wide, (48,), norm.weight, norm.bias)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected.bfloat16(), rtol=0, atol=0)
    toward = torch.randn(2, 5, 48).bfloat16()
    (ours,) = torch.autograd.grad(out, x, toward)
    (theirs,) = torch.autograd.grad(expected, wide, toward.float())
    torch.testing.assert_close(ours, theirs.bfloat16(), rtol=2**-7, atol=1e-3)


def losses(precision: str, steps: int = 40) -> Tensor:
    model = make(narrow=precision == "stream")
    images = torch.randn(32, 3, 16, 16)
    labels = torch.arange(32) % 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    seen = []
    for step in range(steps):
        batch = images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(step))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != "fp32"):
            loss = F.cross_entropy(model(batch).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.detach())
    return torch.stack(seen)


@pytest.mark.slow
def test_losses_follow_those_of_float32_within_a_hundredth_of_the_first() -> None:
    exact, stream = losses("fp32"), losses("stream")
    assert exact[-1] < exact[0] / 2, "or nothing was learned that could differ"
    assert (stream - exact).abs().mean() < 0.01 * exact[0]


def test_a_model_without_a_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="ResNet adds its blocks up in float32"):
        narrow_stream(Resnet(size=18, res=32).build(2))
