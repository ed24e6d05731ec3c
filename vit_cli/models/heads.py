"""What comes after the blocks: pooling by attention, and the heads.   b images, n tokens, d width."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vit_cli.models.attention import attend
from vit_cli.models.layers import Gelu, Mlp


class MapHead(nn.Module):
    """Pool tokens by attention with one learned query, then an MLP ("Scaling Vision Transformers", big_vision's MAPHead)."""

    stacked: ClassVar = {"kv": 2}

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
        logits: Tensor = self.classes(self.represent(x))
        return logits

    def represent(self, x: Tensor) -> Tensor:
        """(b, d) -> (b, hidden), what the last layer sees."""
        hidden: Tensor = self.activation(self.hidden(x))
        return hidden


def start_at(head: nn.Module, bias: float) -> None:
    """Make a head's last layer zero, with one bias for all classes, so that the first loss is known; Identity has none."""
    last = head.classes if isinstance(head, MlpHead) else head
    if isinstance(last, nn.Linear):
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, bias)
