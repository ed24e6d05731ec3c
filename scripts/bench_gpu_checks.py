"""The questions of docs/speed/gpu.md that need no trainer: each is answered alone, by a figure or a name."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scripts.bench_arms import Fact
from scripts.bench_gpu_arms import measure_products, seconds_of
from vit_cli.models import layers
from vit_cli.models.attention import Attention, attend
from vit_cli.models.layers import Block, Mlp, PatchEmbedding

REPEATS = 30


class Shape(NamedTuple):
    """What the questions are asked about: blocks of a Vision Transformer, and images."""

    device: torch.device
    batch: int
    width: int
    heads: int
    depth: int
    res: int = 224

    @property
    def tokens(self) -> int:
        """Patches of 16 pixels, and the class token."""
        return (self.res // 16) ** 2 + 1


def base(device: torch.device, is_small: bool) -> Shape:
    """Give ViT-B/16 at 224 with a batch of 256, or next to nothing."""
    return Shape(device, 4, 32, 2, 2, 32) if is_small else Shape(device, 256, 768, 12, 12)


def large(device: torch.device, is_small: bool) -> Shape:
    """Give ViT-L/16 at 224 with a batch of 256, or next to nothing."""
    return base(device, True) if is_small else Shape(device, 256, 1024, 16, 24)


def check_all(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """Answer one question after the other; one that fails says so, and the next is asked."""
    for question in (parity, kernels, residual, patchify, aligned, upload, subset, fp8, optimisers, ceiling):
        try:
            yield from question(device, is_small)
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            first, *_ = str(error).splitlines() or [type(error).__name__]
            yield Fact(name=question.__name__, unit="failed", ours=first[:200])


def parity(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """The gate before any timing: timm's weights answer here as there."""
    import timm
    from timm.models._hub import save_for_hf

    from vit_cli.evaluate.open import open_weights
    from vit_cli.models import Model
    from vit_cli.recipe.plain import read_section

    torch.manual_seed(0)
    args = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2} if is_small else {}
    peer = timm.create_model("vit_small_patch16_224", num_classes=11, **args).eval()
    for parameter in peer.parameters():
        nn.init.normal_(parameter, std=0.05)  # a head of zeros would tell nothing
    with tempfile.TemporaryDirectory() as folder:
        save_for_hf(peer, folder, model_args=args | {"num_classes": 11}, safe_serialization=True)
        saved = open_weights(Path(folder))
    ours = read_section(Model, saved.about["model"]).build(len(saved.class_names)).eval()
    ours.load_state_dict(saved.weights)
    peer, ours = peer.to(device), ours.to(device)
    images = torch.randn(8, 3, *saved.about["res"], device=device)
    with torch.inference_mode():
        theirs, mine = peer(images), ours(images)
        with torch.autocast(device.type, torch.bfloat16):
            coarse = ours(images).float() - peer(images).float()
    for name, difference in (("parity_fp32", mine - theirs), ("parity_bf16", coarse)):
        yield Fact(
            name=name,
            unit="largest difference of logits / their spread",
            ours=(difference.abs().max() / theirs.std()).item(),
        )


def kernels(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """2. Which kernels attention runs, forwards and backwards."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]
    for side in (32,) if is_small else (224, 384):
        shape = base(device, is_small)._replace(res=side)
        for dtype in (torch.bfloat16, torch.float32):
            q, k, v = make_heads(shape, dtype)
            attend(q, k, v, 0.0).sum().backward()
            with profile(activities=activities) as seen:
                attend(q, k, v, 0.0).sum().backward()
            spent = sorted(seen.key_averages(), key=lambda row: -getattr(row, "self_device_time_total", 0))
            names = ", ".join(row.key[:60] for row in spent[:3])
            yield Fact(name=f"attention_{side}_{str(dtype)[6:]}", unit="kernels", ours=names)


def residual(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """3. What bf16 residuals would bring: blocks under autocast beside the same in bf16 throughout, compiled."""
    shape = base(device, is_small)
    blocks = make_blocks(shape)
    low = copy.deepcopy(blocks).bfloat16()
    x = make_tokens(shape, shape.tokens)

    def under_autocast(module: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return module(x)

    for name, module, tokens, call in (
        ("fp32", blocks, x, under_autocast),
        ("bf16", low, x.bfloat16(), nn.Module.__call__),
    ):
        compiled = compile_each(module)
        yield timed(f"residual_{name}", shape, partial(call, compiled, tokens))


def patchify(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """4. Patches by a dense layer, as ours, and by a convolution."""
    shape = base(device, is_small)
    images = torch.randn(shape.batch, 3, shape.res, shape.res, device=device)
    convolution = nn.Conv2d(3, shape.width, 16, 16).to(device)
    for name, module in (("linear", PatchEmbedding(16, 3, shape.width).to(device)), ("convolution", convolution)):
        yield timed(f"patches_{name}", shape, partial(autocast, module, images))


def aligned(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """5. 197 tokens, 196 without a class token, and 192, three whole tiles of attention."""
    shape = base(device, is_small)
    blocks = compile_each(make_blocks(shape))
    for tokens in (shape.tokens, shape.tokens - 1, 192 if not is_small else 4):
        x = make_tokens(shape, tokens)
        torch.compiler.reset()  # else the second length would be compiled for any length
        yield timed(f"tokens_{tokens}", shape, partial(autocast, blocks, x))


def upload(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """6. A batch of bytes on its way to the GPU, from memory that it can fetch from by itself and from any other."""
    shape = base(device, is_small)
    images = torch.zeros(shape.batch, 3, shape.res, shape.res, dtype=torch.uint8)
    pinned = images.pin_memory() if device.type == "cuda" else images
    for name, source in (("pinned", pinned), ("pageable", images)):
        seconds = seconds_of(partial(source.to, device, non_blocking=True), REPEATS, device)
        yield Fact(name=f"upload_{name}", unit=f"ms for {shape.batch} images", ours=1000 * seconds)


def subset(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """7. Drop path by a mask, and by computing a branch for those images alone that keep it, compiled."""
    shape = base(device, is_small)
    x = make_tokens(shape, shape.tokens)
    for rate in (0.1, 0.2, 0.4):
        for name, limit in (("mask", 1.0), ("subset", 0.0)):
            torch.manual_seed(0)
            chain = nn.Sequential(*(make_block(shape).to(device) for _ in range(shape.depth)))
            for block in chain:
                block.drop_path.rate = rate
            layers.SKIP_ABOVE = limit
            torch.compiler.reset()
            blocks = compile_each(chain)
            yield timed(f"drop_path_{rate}_{name}", shape, partial(autocast, blocks, x))


def fp8(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """9. Products of ViT-L's dense layers in bf16, and in fp8 with one scale for a tensor, scaling included."""
    shape = large(device, is_small)
    rows, d = shape.batch * shape.tokens // 16 * 16, shape.width
    for name, out, inner in (("qkv", 3 * d, d), ("fc1", 4 * d, d), ("fc2", d, 4 * d)):
        x = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
        weight = torch.randn(out, inner, device=device, dtype=torch.bfloat16) / inner**0.5
        scaled = torch.compile(product_in_fp8)
        for kind, call in (("bf16", partial(torch.mm, x, weight.T)), ("fp8", partial(scaled, x, weight))):
            yield Fact(name=f"{name}_{kind}", unit="ms", ours=1000 * seconds_of(call, REPEATS, device))


def product_in_fp8(x: Tensor, weight: Tensor) -> Tensor:
    """Give x @ weight.T by fp8, each scaled so that its largest number is fp8's."""
    most = torch.finfo(torch.float8_e4m3fn).max
    scales = [tensor.abs().amax().float() / most for tensor in (x, weight)]
    low = [(tensor / scale).to(torch.float8_e4m3fn) for tensor, scale in zip((x, weight), scales, strict=True)]
    product: Tensor = torch._scaled_mm(low[0], low[1].T, scale_a=scales[0], scale_b=scales[1], out_dtype=x.dtype)
    return product


def optimisers(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """10. AdamW on ViT-B's weights: tensor by tensor, for all at once, fused, and compiled."""
    shape = base(device, is_small)
    for name, words in (
        ("single", {"foreach": False}),
        ("foreach", {"foreach": True}),
        ("fused", {"fused": True}),
        ("compiled", {}),
    ):
        weights = [nn.Parameter(weight.detach().clone()) for weight in make_blocks(shape).parameters()]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        optimizer = torch.optim.AdamW(weights, lr=torch.tensor(1e-3) if name == "compiled" else 1e-3, **words)
        step = torch.compile(optimizer.step) if name == "compiled" else optimizer.step
        yield Fact(name=f"adamw_{name}", unit="ms a step", ours=1000 * seconds_of(step, REPEATS, device))


def ceiling(device: torch.device, is_small: bool) -> Iterator[Fact]:
    """The device's own limits, which all figures are to be seen against."""
    yield Fact(name="products_bf16", unit="TFLOP/s", ours=measure_products(device))
    size = 2**20 if is_small else 2**32
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    seconds = seconds_of(lambda: target.copy_(source), REPEATS, device)
    yield Fact(name="copy", unit="TB/s, read and written", ours=2 * size / seconds / 1e12)


def make_block(shape: Shape) -> Block:
    """Make a block with the biases that all published models have."""
    attention = Attention(shape.width, shape.heads)
    return Block(attention, Mlp(shape.width, 4 * shape.width, gelu="exact"), shape.width).to(shape.device)


def make_blocks(shape: Shape) -> nn.Sequential:
    """Make all blocks."""
    torch.manual_seed(0)
    return nn.Sequential(*(make_block(shape) for _ in range(shape.depth)))


def compile_each(blocks: nn.Sequential) -> nn.Sequential:
    """Compile block by block: all share one piece of code, which is made once."""
    return nn.Sequential(*(torch.compile(block) for block in blocks))


def make_tokens(shape: Shape, tokens: int) -> Tensor:
    """Make what goes into the first block."""
    return torch.randn(shape.batch, tokens, shape.width, device=shape.device, requires_grad=True)


def make_heads(shape: Shape, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Make queries, keys and values as one dense layer lays them out."""
    size = shape.batch, shape.tokens, 3, shape.heads, shape.width // shape.heads
    made = torch.randn(size, device=shape.device, dtype=dtype, requires_grad=True)
    return made.permute(2, 0, 3, 1, 4).unbind()


def autocast(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Go through a module in bf16, as training does."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return module(x)


def timed(name: str, shape: Shape, forward: Callable[[], Tensor]) -> Fact:
    """Time going forwards and backwards."""

    def call() -> None:
        forward().float().square().mean().backward()

    return Fact(
        name=name,
        unit=f"ms for {shape.batch} images, both ways",
        ours=1000 * seconds_of(call, REPEATS if shape.batch > 4 else 2, shape.device),
    )
