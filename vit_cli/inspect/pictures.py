"""The pictures of what a model learned: what each is called, what to look for, and which models have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vit_cli.inspect.board import Panel
from vit_cli.inspect.distance import draw_distance
from vit_cli.inspect.features import draw_features
from vit_cli.inspect.filters import draw_filters
from vit_cli.inspect.maps import draw_maps
from vit_cli.inspect.positions import draw_positions, lack_positions
from vit_cli.inspect.projection import draw_projection, lack_images
from vit_cli.inspect.rollout import draw_rollout
from vit_cli.inspect.sight import Sight
from vit_cli.inspect.similarity import draw_similarity


class Picture(NamedTuple):
    """One picture. `lack` says why a model has none of it, or nothing; `look` is the caption."""

    title: str
    look: str
    draw: Callable[[Sight], Panel]
    lack: Callable[[Sight], str]
    needs_images: bool = True


def have_all(_sight: Sight) -> str:
    """Every model has it."""
    return ""


def lack_attention(sight: Sight) -> str:
    """Say that a convolutional model has no attention, and so no tokens."""
    return "" if sight.parts.attention else "a convolutional model has no attention"


PICTURES = {
    "filters": Picture(
        "What the first layer looks for",
        "Look for: smooth waves, edges and patches of one colour, as in an image code; noise means that the first layer has "
        "learned little yet. Each tile runs from its own least to its largest value.",
        draw_filters,
        have_all,
        needs_images=False,
    ),
    "positions": Picture(
        "Which positions are alike",
        "Look for: in each tile, the bright spot at the tile's own place (of relative biases: in the middle), fading with "
        "distance, or along its row and column: then the model has learned, or was given, where patches lie.",
        draw_positions,
        lambda sight: lack_positions(sight.model),
        needs_images=False,
    ),
    "distance": Picture(
        "Mean attention distance",
        "Look for: low layers whose heads are spread from near to far, and high layers that all look far; a head at the dashed "
        "line may look everywhere alike. What is paid by and to class token and registers is left out, and the rest not brought "
        "to a sum of 1 again.",
        draw_distance,
        lack_attention,
    ),
    "attention": Picture(
        "Where the heads look",
        "Look for: heads that pick out the object, its outline or the background, and heads that look alike. "
        "Each map runs from its own least weight (dark) to its largest (bright).",
        draw_maps,
        lack_attention,
    ),
    "rollout": Picture(
        "Attention rollout",
        "Look for: light on what the answer should rest on; light on the background or on one corner for all images is a "
        "warning. Heads are averaged, half of each layer is its residual; maps run from their least to their largest value.",
        draw_rollout,
        lack_attention,
    ),
    "similarity": Picture(
        "How alike the pooled token and the patches are",
        "Look for: how early they part or meet; patches that all come close to 1 in the last layers have lost what told their "
        "places apart.",
        draw_similarity,
        lack_attention,
    ),
    "features": Picture(
        "Features by layer",
        "Look for: parts of the image that get one colour of their own, in all images alike, and from which layer on. Red, green "
        "and blue are the three largest principal components of a layer over all images; colours of two layers can't be compared.",
        draw_features,
        have_all,
    ),
    "projection": Picture(
        "Images as the model sees them",
        "Look for: one cluster for each class; classes that run into each other are those it confuses. In PCA "
        "the distance between clusters means something, in t-SNE next to nothing.",
        draw_projection,
        lambda sight: lack_images(sight.album),
    ),
}
