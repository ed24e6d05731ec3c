"""What every model tells the rest of the program about itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from vit_cli.section import Grid


class Classifier(nn.Module):
    """A model from images (b, channels, rows, columns) to logits (b, classes) that declares how it wants to be trained."""

    layers: int
    """The number of the last layer, for layer-wise learning rates; the embedding is layer 0."""
    width: int = 0
    """The width of the narrowest tokens that blocks of attention see; 0 in models without such blocks."""
    tokens: int
    """The length of the sequence that the blocks see."""
    head_names: tuple[str, ...]
    """Prefixes of the parameters that belong to the classes; other classes need new ones."""
    blocks: nn.ModuleList
    """The blocks of attention and MLP, all of one kind, in models that have them."""
    seen: int | None = None
    """How many tokens of the last block, the first ones, the heads see; None for all.

    `features` works out no others, which changes neither answers nor gradients. To the last block the rest are keys and
    values still, but queries, projection and MLP are left out for them: of twelve blocks about 7 % of all products.
    """

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Images (b, channels, rows, columns) -> one pooled token each (b, d), what the head sees."""

    def allow(self, res: Grid) -> None:
        """Take images of `res` pixels, too. Where that can't be, or needs no leave, nothing changes."""

    def layer_of(self, name: str) -> int:
        """Tell the layer of the parameter `name`, from 0 to `layers`.

        Block i is layer i + 1; norm, pool and head are the last; what makes tokens and positions is layer 0.
        """
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return self.layers if name.startswith(("norm.", "pool.", "head")) else 0

    def decays(self, name: str, parameter: Tensor) -> bool:
        """Tell whether weight decay applies to the parameter: to kernels only.

        Biases, norms, positions, tokens and scales do not decay (big_vision, optax.py; CCT's authors let positions decay).
        """
        return name.endswith(".weight") and parameter.ndim >= 2

    def matrices(self, name: str, parameter: Tensor) -> int:
        """Count the matrices between hidden features that the parameter holds, one above another; 0 for all else.

        They are the kernels of dense layers behind what makes tokens and before the head. A module names those of its
        layers that hold several in `stacked`. A single row is no matrix.
        """
        is_outer = self.layer_of(name) == 0 or name.startswith(("head", *self.head_names))
        if is_outer or not self.decays(name, parameter) or parameter.ndim != 2 or len(parameter) == 1:
            return 0
        owner, _, layer = name.removesuffix(".weight").rpartition(".")
        stacked: Mapping[str, int] = getattr(self.get_submodule(owner), "stacked", {})
        return stacked.get(layer, 1)

    @abstractmethod
    def flops(self) -> int:
        """Count the floating-point operations of one image's forward pass, a multiply-add as two."""

    @abstractmethod
    def stem_flops(self) -> int:
        """Count those of `flops` in the layer that sees the image itself."""

    def training_flops(self) -> int:
        """Count the operations of one image's forward and backward pass.

        Backward takes two products for each one of forward: for the gradients of its weights and of its input, which an
        image has no use for. What a kernel computes once more to save memory does not count, nor what is spared where
        images are dropped or tokens that no head sees are left out.
        """
        return 3 * self.flops() - self.stem_flops()
