from __future__ import annotations

import pytest
import torch

from vit_cli.models.classifier import Classifier
from vit_cli.models.dense import find_layers, packing
from vit_cli.models.recompute import recompute
from vit_cli.models.vit import Vit
from vit_cli.train.compile import compile_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def build() -> Classifier:
    torch.manual_seed(0)
    model = Vit(width=32, depth=4, heads=2, patch=8, res=32, drop_path=0.3).build(5)
    torch.nn.init.normal_(model.head.weight)
    return model


def gradients(model: Classifier, call: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    model.eval()  # compiled code draws other random numbers
    call(images).square().sum().backward()
    return [parameter.grad for parameter in model.parameters()]


def assert_close(got: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm()


@pytest.mark.long
def test_a_compiled_model_gives_the_same_gradients_under_the_same_names() -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain, model = build(), build()
    expected = gradients(plain, plain, images)
    assert_close(gradients(model, compile_model(model, "model"), images), expected)
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.long
def test_compiled_blocks_share_their_code_and_go_together_with_recomputing() -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain, model = build(), build()
    expected = gradients(plain, plain, images)
    recompute(model, "mlp")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert_close(gradients(model, compile_model(model, "blocks"), images), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2  # the first one knows its number of drops
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.long
def test_compiled_blocks_answer_in_one_piece_where_weights_are_packed() -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model = build().eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(images).float()
        compile_model(model, "blocks")
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        with packing(model, torch.device("cpu"), "bf16"):
            assert all(layer.packed for layer in find_layers(model))
            torch.testing.assert_close(model(images).float(), expected, rtol=0.05, atol=0.05)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] in (1, 2)
    assert not torch._dynamo.utils.counters["graph_break"]


def test_off_and_auto_leave_a_model_as_it_is() -> None:
    model = build()
    assert compile_model(model, "off") is model
    assert compile_model(model, "auto") is model
    assert all("forward" not in vars(block) for block in model.blocks)
