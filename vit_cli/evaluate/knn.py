"""The k nearest neighbours of frozen features (DINO, eval_knn.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

TEMPERATURE = 0.07
CHUNK = 2**26
"""Similarities that are held at once."""


def vote(
    train: NDArray[np.float32],
    labels: NDArray[np.int64],
    test: NDArray[np.float32],
    neighbours: Sequence[int],
    device: torch.device,
) -> dict[int, NDArray[np.int64]]:
    """Give for each number k of neighbours the class of every image of `test` (m,), by the votes of its k nearest in `train`.

    Features (n, d) and (m, d) are brought to length 1; near are those of a large cosine, whose votes weigh
    exp(cosine / 0.07).
    """
    known = normalize(torch.from_numpy(train).to(device), dim=1)
    truth = torch.from_numpy(labels).to(device)
    classes = int(labels.max()) + 1
    parts: dict[int, list[NDArray[np.int64]]] = {k: [] for k in neighbours}
    for chunk in torch.from_numpy(test).split(max(1, CHUNK // len(train))):
        cosines, rows = (normalize(chunk.to(device), dim=1) @ known.T).topk(max(neighbours), dim=1)
        weights = (cosines.double() / TEMPERATURE).exp()
        for k, found in parts.items():
            votes = weights.new_zeros(len(chunk), classes)
            votes.scatter_add_(1, truth[rows[:, :k]], weights[:, :k])
            found.append(votes.argmax(dim=1).cpu().numpy())
    return {k: np.concatenate(found) for k, found in parts.items()}
