"""The published sizes of the Vision Transformer."""

from typing import Literal, NamedTuple

SizeName = Literal[
    "mu", "tiny", "small", "medium", "base", "large", "so400m", "huge", "giant", "giant_opt", "gigantic", "gigantic_opt", "enormous"
]  # fmt: skip


class Size(NamedTuple):
    """Width of a token, number of blocks, width inside the MLP, attention heads."""

    width: int
    depth: int
    mlp: int
    heads: int


# ViT, table 1; "Scaling Vision Transformers", table 2; big_vision, models/vit.py. In the papers' letters:
# mu, Ti, S, M, B, L, So400m, H, g, g-opt, G, G-opt, e.
SIZES: dict[SizeName, Size] = {
    "mu": Size(32, 1, 128, 2),
    "tiny": Size(192, 12, 768, 3),
    "small": Size(384, 12, 1536, 6),
    "medium": Size(512, 12, 2048, 8),
    "base": Size(768, 12, 3072, 12),
    "large": Size(1024, 24, 4096, 16),
    "so400m": Size(1152, 27, 4304, 16),
    "huge": Size(1280, 32, 5120, 16),
    "giant": Size(1408, 40, 6144, 16),
    "giant_opt": Size(1536, 40, 6144, 16),
    "gigantic": Size(1664, 48, 8192, 16),
    "gigantic_opt": Size(1536, 48, 8192, 16),
    "enormous": Size(1792, 56, 15360, 16),
}
