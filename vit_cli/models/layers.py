"""The blocks of a Vision Transformer (ViT, section 3.1).   b images, n tokens, d width, h heads."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Gelu = Literal["tanh", "exact"]


class PatchEmbedding(nn.Module):
    """Cut an image into patches and project each, as one matrix product (the same map as a convolution of that stride)."""

    def __init__(self, patch: int, channels: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.projection = nn.Linear(channels * patch * patch, width)

    def forward(self, images: Tensor) -> Tensor:
        """(b, channels, rows * patch, columns * patch) -> (b, rows * columns, d), row by row."""
        b, c, height, width = images.shape
        p = self.patch
        x = images.reshape(b, c, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        tokens: Tensor = self.projection(x.reshape(b, (height // p) * (width // p), c * p * p))
        return tokens


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Softmax attention of queries (b, h, n, e) over keys and values (b, h, m, e) -> (b, h, n, e)."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] <= MATMUL_TOKENS:
        return attend_by_products(q, k, v, dropout)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Do what `attend` does by two matrix products with a softmax between."""
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
    return F.dropout(weights, dropout, training=dropout > 0) @ v


# On CPUs in bf16 the products train 1.2 to 4 times as fast as torch's fused kernel; in float32 the kernel is the
# faster one (scripts/bench_attention.py). Beyond this length their (n, n) weights cost too much memory.
MATMUL_TOKENS = 1024


class Attention(nn.Module):
    """Let every token look at every other."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = attend(q, k, v, self.dropout if self.training else 0.0)
        mixed: Tensor = self.out(x.transpose(1, 2).reshape(b, n, d))
        return mixed


class Mlp(nn.Module):
    """Two dense layers with a GELU between, applied to each token alone."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0, gelu: Gelu = "tanh") -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.gelu = nn.GELU(approximate="tanh" if gelu == "tanh" else "none")
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        wide: Tensor = self.fc2(self.dropout(self.gelu(self.fc1(x))))
        return wide


class DropPath(nn.Module):
    """Leave a branch out for a share of the images, and scale up what stays (stochastic depth, Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        if not self.training or self.rate == 0:
            return x
        if self.rate == 1:
            return torch.zeros_like(x)
        keep = 1 - self.rate
        mask = x.new_empty(x.shape[0], 1, 1).bernoulli_(keep)
        return x * mask.div_(keep)


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and beside a residual."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
        gelu: Gelu = "tanh",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attention = Attention(width, heads, attention_dropout)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp, dropout, gelu)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)."""
        x = x + self.drop_path(self.dropout(self.attention(self.norm1(x))))
        return x + self.drop_path(self.dropout(self.mlp(self.norm2(x))))


class MapHead(nn.Module):
    """Pool tokens by attention with one learned query, then an MLP ("Scaling Vision Transformers", big_vision's MAPHead)."""

    def __init__(self, width: int, heads: int, mlp: int, norm_eps: float = 1e-6, gelu: Gelu = "tanh") -> None:
        super().__init__()
        self.heads = heads
        self.probe = nn.Parameter(torch.zeros(1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp, gelu=gelu)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, d)."""
        b, n, d = x.shape
        q = self.q(self.probe).view(1, 1, self.heads, d // self.heads).transpose(1, 2).expand(b, -1, -1, -1)
        k, v = self.kv(x).view(b, n, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        pooled = self.out(attend(q, k, v, 0.0).transpose(1, 2).reshape(b, 1, d))
        return (pooled + self.mlp(self.norm(pooled)))[:, 0]


class MlpHead(nn.Module):
    """The head of pre-training: one hidden layer, then the classes (ViT, section 3.1)."""

    def __init__(self, width: int, hidden: int, classes: int, activation: Literal["tanh", "gelu"] = "tanh") -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.activation = nn.Tanh() if activation == "tanh" else nn.GELU(approximate="tanh")
        self.classes = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(b, d) -> (b, classes)."""
        logits: Tensor = self.classes(self.activation(self.hidden(x)))
        return logits
