"""The losses a recipe can name; each takes hard or soft targets and gives one number per image."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from vit_cli.errors import RecipeError
from vit_cli.section import Section, Share

ClassWeights = Literal["none", "auto"] | dict[str, PositiveFloat]


class CrossEntropy(Section):
    """Softmax cross entropy."""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Share = Field(0.0, description="share of every target that is spread evenly over all classes")
    class_weights: ClassWeights = Field("none", description="auto balances the classes; classes not named weigh 1")
    l1: NonNegativeFloat = Field(0.0, description="strength of the L1 penalty on the kernels")

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> nn.Module:
        """Make the loss for `classes` with `counts` training images; raises RecipeError for unfit class weights."""
        return SoftmaxLoss(self.label_smoothing, weigh_classes(self.class_weights, classes, counts))


class BinaryCrossEntropy(Section):
    """Sigmoid cross entropy: every class is a question of its own (Beyer et al. 2020; DeiT III).

    `reduction` sums over the classes, as big_vision does, or averages, as timm and DeiT III do; the mean's gradients
    are K times smaller, which matters to clipping, L1 and SGD.
    """

    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    label_smoothing: Share = Field(0.0, description="share of every target that is spread evenly over all classes")
    class_weights: ClassWeights = Field("none", description="auto balances the classes; classes not named weigh 1")
    l1: NonNegativeFloat = Field(0.0, description="strength of the L1 penalty on the kernels")
    reduction: Literal["sum", "mean"] = Field("sum", description="over the classes of an image")

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> nn.Module:
        """Make the loss for `classes` with `counts` training images; raises RecipeError for unfit class weights."""
        weights = weigh_classes(self.class_weights, classes, counts)
        return SigmoidLoss(self.label_smoothing, weights, self.reduction)


class Squared(Section):
    """Mean squared error of standardised targets."""

    name: Literal["mse"] = "mse"
    l1: NonNegativeFloat = Field(0.0, description="strength of the L1 penalty on the kernels")

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> nn.Module:  # noqa: ARG002
        """Make the loss."""
        return NumberLoss(F.mse_loss)


class Absolute(Section):
    """Mean absolute error of standardised targets: outliers pull no more than others."""

    name: Literal["l1"] = "l1"
    l1: NonNegativeFloat = Field(0.0, description="strength of the L1 penalty on the kernels")

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> nn.Module:  # noqa: ARG002
        """Make the loss."""
        return NumberLoss(F.l1_loss)


class Huber(Section):
    """Half the squared error up to `delta` standard deviations, beyond it linear (Huber, 1964)."""

    name: Literal["huber"] = "huber"
    delta: PositiveFloat = Field(1.0, description="in standard deviations of a target")
    l1: NonNegativeFloat = Field(0.0, description="strength of the L1 penalty on the kernels")

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> nn.Module:  # noqa: ARG002
        """Make the loss."""
        return NumberLoss(partial(F.huber_loss, delta=self.delta))


Loss = Annotated[CrossEntropy | BinaryCrossEntropy | Squared | Absolute | Huber, Field(discriminator="name")]


def weigh_classes(choice: ClassWeights, classes: Sequence[str], counts: Sequence[int]) -> Tensor | None:
    """Give the weight of every class (K,) in float32, or None if all weigh the same.

    "auto" is n / (K * count), scikit-learn's "balanced", whose mean over the n training images is 1.
    """
    if choice == "none":
        return None
    if choice == "auto":
        empty = [name for name, count in zip(classes, counts, strict=True) if not count]
        if empty:
            raise RecipeError(f"loss.class_weights: no training image shows '{empty[0]}', so auto can't weigh it")
        return torch.tensor([sum(counts) / (len(classes) * count) for count in counts])
    for name in choice:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the classes begin with '{classes[0]}'"
            raise RecipeError(f"loss.class_weights: '{name}' is no class of the training data", hint)
    return torch.tensor([choice.get(name, 1.0) for name in classes])


class SoftmaxLoss(nn.Module):
    """-sum_k w_k t_k log softmax(z)_k, with targets t smoothed once, here: (1 - s) t + s / K.

    The weights are torch's, but the mean over a batch is plain, not divided by their sum, so that batches
    add up.
    """

    def __init__(self, label_smoothing: float = 0.0, weights: Tensor | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (b, K) and class numbers (b,) or shares (b, K) -> (b,) in float32."""
        targets = targets.float() if targets.is_floating_point() else targets
        losses: Tensor = F.cross_entropy(
            logits.float(), targets, self.weights, reduction="none", label_smoothing=self.label_smoothing
        )
        return losses


class SigmoidLoss(nn.Module):
    """-t_k log sigmoid(z_k) - (1 - t_k) log sigmoid(-z_k) over k, with t smoothed once, here: (1 - s) t + s / K.

    An image weighs sum_k w_k t_k (t before smoothing), all its classes alike: weighing the columns instead, as torch's
    `weight` would, leaves a rare class as outnumbered within its column as before.
    """

    def __init__(
        self, label_smoothing: float = 0.0, weights: Tensor | None = None, reduction: Literal["sum", "mean"] = "sum"
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (b, K) and class numbers (b,) or shares (b, K) -> (b,) in float32."""
        classes = logits.shape[1]
        shares = (targets if targets.is_floating_point() else F.one_hot(targets, classes)).float()
        smooth = (1 - self.label_smoothing) * shares + self.label_smoothing / classes
        terms = F.binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none")
        losses: Tensor = terms.sum(1) if self.reduction == "sum" else terms.mean(1)
        return losses if self.weights is None else losses * (shares * self.weights).sum(1)


class NumberLoss(nn.Module):
    """The mean over the targets of how far each is off."""

    def __init__(self, measure: Callable[..., Any]) -> None:
        super().__init__()
        self.measure = measure

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Predictions and targets, both (b, T) and standardised -> (b,) in float32."""
        losses: Tensor = self.measure(predictions.float(), targets.float(), reduction="none").mean(1)
        return losses
