"""The compact transformers against the authors' forward pass under their names, published counts, and closed forms."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_cli.models.adapt import load_weights, stretch_tables
from vit_cli.models.cct import CCT, Cct
from vit_cli.models.positions import Stretch

TINY = {"width": 24, "heads": 3, "depth": 3, "mlp": 40, "res": (16, 24)}
VIT_LITE = {"tokenizer": "patch", "kernel": 4, "pool": "cls"}
CVT = {"tokenizer": "patch", "kernel": 4}
TWICE = {"kernel": 7, "convolutions": 2}
FORMS: list[dict[str, Any]] = [
    {},
    TWICE,
    CVT,
    VIT_LITE,
    {"stride": 2, "padding": 0, "max_pool": False},
    {"positions": "sincos"},
    {"positions": "sincos", "pool": "cls"},
    {"positions": "none"},
]


def build(classes: int = 5, seed: int = 0, **changes: Any) -> CCT:
    """A tiny model, moved away from its zeros so that every weight matters."""
    torch.manual_seed(seed)
    model = Cct(**TINY | changes).build(classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def images(count: int = 2, res: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.randn(count, 3, *res, generator=torch.Generator().manual_seed(1))


AUTHORS = [
    (r"^embedding\.convolutions\.(\d+)", r"tokenizer.conv_layers.\1.0"),
    (r"^cls", "classifier.class_emb"),
    (r"^blocks\.(\d+)\.norm1", r"classifier.blocks.\1.pre_norm"),
    (r"^blocks\.(\d+)\.norm2", r"classifier.blocks.\1.norm1"),
    (r"^blocks\.(\d+)\.attention\.qkv", r"classifier.blocks.\1.self_attn.qkv"),
    (r"^blocks\.(\d+)\.attention\.out", r"classifier.blocks.\1.self_attn.proj"),
    (r"^blocks\.(\d+)\.mlp\.fc(\d)", r"classifier.blocks.\1.linear\2"),
    (r"^norm", "classifier.norm"),
    (r"^pool\.score", "classifier.attention_pool"),
    (r"^head", "classifier.fc"),
]


def with_authors_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights, named as in the authors' checkpoints."""
    parts = [weights[name] for name in ("positions.prefix", "positions.table") if name in weights]
    state = {"classifier.positional_emb": torch.cat(parts, dim=1)} if parts else {}
    for name, value in weights.items():
        fitting = [re.sub(old, new, name) for old, new in AUTHORS if re.search(old, name)]
        if not name.startswith("positions."):
            (renamed,) = fitting
            state[renamed] = value
    return state


def interleaved_sines(length: int, width: int) -> Tensor:
    """The embedding of "Attention is all you need", section 3.5, number by number."""
    rows = [
        [(math.cos if i % 2 else math.sin)(place / 10_000 ** (2 * (i // 2) / width)) for i in range(width)]
        for place in range(length)
    ]
    return torch.tensor(rows)[None]


def forward_by_the_authors(
    weights: dict[str, Tensor], section: Cct, x: Tensor, drop: tuple[float, float], paths: list[float]
) -> Tensor:
    """Tokenizer and TransformerClassifier of the authors (src/utils), by plain functions on weights of their names."""
    w, (p, attention_p) = with_authors_names(weights), drop
    heads, d = section.dimensions.heads, section.dimensions.width

    def norm(y: Tensor, name: str) -> Tensor:
        return F.layer_norm(y, (d,), w[f"classifier.{name}.weight"], w[f"classifier.{name}.bias"], 1e-5)

    def dense(y: Tensor, name: str) -> Tensor:
        return F.linear(y, w[f"classifier.{name}.weight"], w.get(f"classifier.{name}.bias"))

    def drop_path(y: Tensor, rate: float) -> Tensor:
        return y * (torch.empty(len(y), 1, 1).bernoulli_(1 - rate) / (1 - rate)) if rate else y

    for i in range(section.convolutions):
        kernel, bias = w[f"tokenizer.conv_layers.{i}.0.weight"], w.get(f"tokenizer.conv_layers.{i}.0.bias")
        if section.tokenizer == "patch":
            x = F.conv2d(x, kernel, bias, stride=section.kernel)
            continue
        stride = max(1, section.kernel // 2 - 1) if section.stride is None else section.stride
        padding = max(1, section.kernel // 2) if section.padding is None else section.padding
        x = F.conv2d(x, kernel, bias, stride=stride, padding=padding).relu()
        if section.max_pool:
            x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    x = x.flatten(2, 3).transpose(-2, -1)
    if section.pool == "cls":
        x = torch.cat([w["classifier.class_emb"].expand(len(x), -1, -1), x], dim=1)
    if section.positions == "sincos":
        x = x + interleaved_sines(x.shape[1], d)
    elif section.positions == "learned":
        x = x + w["classifier.positional_emb"]
    x = F.dropout(x, p)
    for i, rate in enumerate(paths):
        q, k, v = (
            part.unflatten(2, (heads, -1)).transpose(1, 2)
            for part in dense(norm(x, f"blocks.{i}.pre_norm"), f"blocks.{i}.self_attn.qkv").split(d, dim=2)
        )
        attention = F.dropout((q @ k.transpose(-2, -1) * (d // heads) ** -0.5).softmax(dim=-1), attention_p)
        mixed = dense((attention @ v).transpose(1, 2).flatten(2), f"blocks.{i}.self_attn.proj")
        x = norm(x + drop_path(F.dropout(mixed, p), rate), f"blocks.{i}.norm1")
        y = dense(F.dropout(F.gelu(dense(x, f"blocks.{i}.linear1")), p), f"blocks.{i}.linear2")
        x = x + drop_path(F.dropout(y, p), rate)
    x = norm(x, "norm")
    if section.pool == "cls":
        return dense(x[:, 0], "fc")
    weights_of_tokens = F.softmax(dense(x, "attention_pool"), dim=1)
    return dense(torch.einsum("bno,bnd->bd", weights_of_tokens, x), "fc")


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_logits_are_those_of_the_authors_forward_pass(form: dict[str, Any]) -> None:
    model = build(**form).eval()
    theirs = forward_by_the_authors(model.state_dict(), Cct(**TINY | form), images(), (0.0, 0.0), [0.0, 0.0, 0.0])
    torch.testing.assert_close(model(images()), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [{}, VIT_LITE], ids=str)
@pytest.mark.usefixtures("masked_paths")
def test_dropout_stands_where_the_authors_put_it(form: dict[str, Any]) -> None:
    model = build(**form, dropout=0.3, attention_dropout=0.2, drop_path=0.4).train()
    model.seen = None  # all tokens draw their masks
    torch.manual_seed(3)
    ours = model(images(8))
    torch.manual_seed(3)
    theirs = forward_by_the_authors(model.state_dict(), Cct(**TINY | form), images(8), (0.3, 0.2), [0.0, 0.2, 0.4])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [{}, TWICE, VIT_LITE], ids=str)
def test_logits_at_a_stretched_resolution_are_those_of_the_authors_forward_pass(form: dict[str, Any]) -> None:
    source, target = Cct(**TINY | form), Cct(**TINY | form | {"res": (40, 32)})
    weights = build(**form).state_dict()
    model = target.build(5).eval()
    bilinear = Stretch(mode="bilinear")  # theirs
    load_weights(model, stretch_tables(weights, source.position_grids(), target.position_grids(), bilinear).weights)

    table = weights["positions.table"].transpose(1, 2).unflatten(2, source.grid)
    stretched = F.interpolate(table, target.grid, mode="bilinear").flatten(2).transpose(1, 2)
    x = images(res=(40, 32))
    theirs = forward_by_the_authors(weights | {"positions.table": stretched}, target, x, (0.0, 0.0), [0.0, 0.0, 0.0])
    torch.testing.assert_close(model(x), theirs, rtol=1e-5, atol=1e-5)


# README of the authors' code: millions of parameters, and giga multiply-adds of dense layers and convolutions. Those of
# CCT-6/3x1 are without a table of positions.
PUBLISHED = [
    ({"size": "cct_2", "convolutions": 2}, 283_723, 0.284, 0.033),
    ({"size": "cct_4", "convolutions": 2}, 482_123, 0.482, 0.046),
    ({"size": "cct_6", "convolutions": 2}, 3_326_923, 3.327, 0.241),
    ({"size": "cct_7", "convolutions": 2}, 3_853_259, 3.853, 0.275),
    ({"size": "cct_7"}, 3_760_139, 3.760, 0.947),
    ({"size": "cct_6", "positions": "sincos"}, 3_168_267, 3.168, 0.813),
    ({"size": "cct_7", **VIT_LITE}, 3_716_874, 3.717, 0.239),
    ({"size": "cct_6", **VIT_LITE}, 3_190_538, 3.191, 0.205),
    ({"size": "cct_7", **CVT}, 3_716_619, 3.717, 0.236),
    ({"size": "cct_6", **CVT}, 3_190_283, 3.190, 0.202),
]


@pytest.mark.parametrize(("fields", "parameters", "millions", "billions"), PUBLISHED, ids=str)
def test_a_published_size_has_its_published_parameters_and_cost(
    fields: dict[str, Any], parameters: int, millions: float, billions: float
) -> None:
    with torch.device("meta"):
        model = Cct(**fields).build(10)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == parameters
    assert count / 1e6 == pytest.approx(millions, abs=6e-4)
    attention = len(model.blocks) * 2 * model.tokens**2 * model.size.width
    assert (model.flops() / 2 - attention) / 1e9 == pytest.approx(billions, abs=1.1e-3)


@pytest.mark.parametrize(
    ("size", "res", "classes"), [("cct_7", 224, 102), ("cct_14", 224, 1000), ("cct_14", 384, 1000)]
)
def test_sizes_for_large_images_have_the_parameters_of_a_closed_form(size: Any, res: int, classes: int) -> None:
    with torch.device("meta"):
        model = Cct(size=size, res=res, **TWICE).build(classes)
    d, depth, ratio = {"cct_7": (256, 7, 2), "cct_14": (384, 14, 3)}[size]
    tokenizer = 49 * (3 * 64 + 64 * d)
    block = 4 * d + 4 * d * d + d + (2 * ratio * d * d + ratio * d + d)
    ends = (res // 16) ** 2 * d + 2 * d + (d + 1) + (d + 1) * classes
    assert sum(parameter.numel() for parameter in model.parameters()) == tokenizer + depth * block + ends


@pytest.mark.parametrize("form", [*FORMS, {"res": 9}, {"res": (7, 32), "convolutions": 3}], ids=str)
@pytest.mark.parametrize("classes", [0, 5])
def test_operations_and_tokens_are_what_torch_counts(form: dict[str, Any], classes: int) -> None:
    res = {**TINY, **form}["res"]
    model = build(classes, **form).eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        encoded = model.encode(images(1, (res, res) if isinstance(res, int) else res))
        model.head(encoded[:, 0] if model.pool is None else model.pool(encoded))
    assert model.flops() == counter.get_total_flops()
    assert model.tokens == encoded.shape[1]
    grid = Cct(**TINY | form).grid
    assert model.tokens == grid.rows * grid.columns + (model.cls is not None)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_parameter_gets_a_gradient_but_the_bias_of_all_scores(form: dict[str, Any]) -> None:
    model = build(**form)
    model(images()).square().sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-5]
    assert still == (["pool.score.bias"] if model.pool is not None else [])


@pytest.mark.parametrize("form", [{}, VIT_LITE], ids=str)
def test_every_parameter_has_a_layer_and_every_layer_has_parameters(form: dict[str, Any]) -> None:
    model = build(**form)
    by_layer: dict[int, set[str]] = {}
    for name, _ in model.named_parameters():
        by_layer.setdefault(model.layer_of(name), set()).add(name.split(".")[0])
    first = {"embedding", "positions"} | ({"cls"} if form else set())
    last = {"norm", "head"} | (set() if form else {"pool"})
    assert by_layer == {0: first, 1: {"blocks"}, 2: {"blocks"}, 3: {"blocks"}, 4: last}
    assert model.layers == 4


@pytest.mark.parametrize("form", [{}, VIT_LITE], ids=str)
def test_weight_decay_is_for_kernels_only(form: dict[str, Any]) -> None:
    model = build(**form)
    kernels = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    assert {name for name, parameter in model.named_parameters() if model.decays(name, parameter)} == kernels


def test_the_first_logits_are_zero_and_a_model_without_classes_gives_features() -> None:
    torch.manual_seed(0)
    assert not Cct(**TINY).build(5)(images()).any()
    model, headless = build(), Cct(**TINY).build(0)
    headless.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("head.")})
    assert torch.equal(headless.eval()(images()), model.eval().features(images()))


def test_first_weights_are_the_authors() -> None:
    torch.manual_seed(0)
    model = Cct(size="cct_6", convolutions=2).build(5)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif name.endswith(("qkv.weight", "out.weight", "fc1.weight", "fc2.weight")):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
        elif name.startswith("embedding."):
            assert parameter.std().item() == pytest.approx(math.sqrt(2 / parameter[0].numel()), rel=0.1), name
    assert model.positions.table.std().item() == pytest.approx(0.2, rel=0.05)


def test_evaluation_is_deterministic_whatever_is_dropped_in_training() -> None:
    dropping, plain = build(dropout=0.5, attention_dropout=0.5, drop_path=0.5), build()
    assert not torch.equal(dropping(images()), dropping(images()))
    assert torch.equal(dropping.eval()(images()), plain.eval()(images()))


def test_bf16_is_near_float32() -> None:
    model = build().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(images())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), model(images()), rtol=0.05, atol=0.05)


def test_only_learned_positions_are_tables_to_stretch() -> None:
    assert Cct(size="cct_7", res=(32, 64)).position_grids() == {"positions.table": (16, 32)}
    assert Cct(size="cct_7", positions="sincos").position_grids() == {}
    assert not any(name.startswith("positions") for name in build(positions="sincos").state_dict())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 24x16 for a model of 16x24 pixels"):
        build()(torch.zeros(1, 3, 24, 16))


NO_PATCH = "a patch tokenizer has a kernel, but no convolutions, stride, padding or max_pool"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give a size, or all of width, depth and heads"),
        ({"width": 64, "depth": 2}, "give a size, or all of width, depth and heads"),
        ({"size": "cct_7", "heads": 5}, "width 256 does not divide into 5 heads"),
        ({"size": "cct_7", "tokenizer": "patch", "convolutions": 2}, NO_PATCH),
        ({"size": "cct_7", "tokenizer": "patch", "padding": 0}, NO_PATCH),
        ({"size": "cct_7", "tokenizer": "patch", "max_pool": False}, NO_PATCH),
        ({"size": "cct_7", "tokenizer": "patch", "kernel": 5}, "32x32 pixels do not divide into patches of kernel 5"),
        ({"size": "cct_7", "kernel": 9, "padding": 0, "res": (32, 8)}, "32x8 pixels are too few for the tokenizer"),
        ({"size": "cct_7", "kernel": 9, "padding": 0, "convolutions": 2, "res": 12}, "12x12 pixels are too few"),
        ({"size": "cct_8"}, "Input should be 'cct_2'"),
        ({"size": "cct_7", "patch": 4}, "Extra inputs are not permitted"),
    ],
)
def test_a_model_that_does_not_hold_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Cct(**fields)


def test_free_dimensions_override_those_of_the_size() -> None:
    assert Cct(size="cct_14", depth=3).dimensions == (384, 3, 1152, 6)
    assert Cct(size="cct_14", width=66).dimensions == (66, 14, 132, 6)
    assert Cct(size="cct_14", width=66, mlp=100).dimensions == (66, 14, 100, 6)
