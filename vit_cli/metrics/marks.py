"""How well several labels are told at once: F1 at a probability of one half, exact matches, average precision."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Marks:
    """Right, said and true marks of each of K labels, and images whose labels are all right.

    A label is said where its probability is above one half. The sums are (3 K + 2,): right, said and true of each
    label, images right in everything, images. A NaN says nothing, and no image with one is right in everything.
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels

    def start(self, device: torch.device) -> Tensor:
        """Give zeros (3 K + 2,)."""
        return torch.zeros(3 * self.labels + 2, dtype=torch.float64, device=device)

    def add(self, sums: Tensor, logits: Tensor, labels: Tensor, losses: Tensor) -> None:  # noqa: ARG002
        """Count a batch: (b, K) logits, (b, K) labels of 0 and 1."""
        said, true = logits > 0, labels > 0.5
        counts = torch.cat([(said & true).sum(0), said.sum(0), true.sum(0)])
        exact = ((said == true) & ~logits.isnan()).all(1).sum()
        sums += torch.cat([counts, exact[None], torch.full_like(exact[None], len(logits))])

    def finish(self, sums: Tensor) -> dict[str, float]:
        """Give `macro_f1` (over the labels that some image has), `micro_f1` and `exact_match`, in per cent."""
        counts = self.count(sums)
        right, said, true = counts.sum(1)
        return {
            "macro_f1": 100 * rates(counts)[2, counts[2] > 0].mean().item(),
            "micro_f1": 100 * (2 * right / (said + true)).nan_to_num(nan=0.0).item(),
            "exact_match": 100 * (sums[-2] / sums[-1]).item(),
        }

    def count(self, sums: Tensor) -> Tensor:
        """Give right, said and true marks of each label: (3, K)."""
        return sums[:-2].view(3, self.labels)


def rates(counts: Tensor) -> Tensor:
    """Give precision, recall and F1 (3, K) of right, said and true marks (3, K), with 0 for 0 / 0."""
    right, said, true = counts
    return torch.stack([right / said, right / true, 2 * right / (said + true)]).nan_to_num(nan=0.0)


def average_precision(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the average precision of each label (K,), from 0 to 1, for logits and labels (n, K); NaN for one that no image has.

    It is the mean, over the images with the label, of the precision among those at least as likely (scikit-learn's
    definition, equal logits counting together). Logits rank as probabilities do, but never become equal by being near
    1. A NaN ranks where it is worst.
    """
    return np.array([rank_one(logits[:, k], labels[:, k] > 0.5) for k in range(logits.shape[1])])


def rank_one(logits: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    """Give the average precision of one label, for (n,) logits and whether the images have it."""
    if not true.any():
        return float("nan")
    scores = np.where(np.isnan(logits), np.where(true, -np.inf, np.inf), logits)
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(true[order])
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the last image of each group of equal logits
    precision = right[ends] / (ends + 1)
    return float((precision * np.diff(right[ends], prepend=0)).sum() / right[-1])
