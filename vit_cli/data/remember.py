"""Evaluation batches that are made once and kept."""

from __future__ import annotations

from collections.abc import Iterator

from vit_cli.data.batch import Batch
from vit_cli.data.cache import BUDGET, free_memory
from vit_cli.data.loader import EvalBatches


class RememberedBatches:
    """Evaluation batches that are made once and kept, if all of them fit into `budget` bytes; else made each time."""

    def __init__(self, batches: EvalBatches, budget: int | None = None) -> None:
        self.batches = batches
        self.budget = min(BUDGET, free_memory() // 4) if budget is None else budget
        self.kept: list[Batch] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        if self.kept:
            yield from self.kept
            return
        kept: list[Batch] = []
        for batch in self.batches:
            if batch.images.nbytes * len(self.batches) <= self.budget:
                kept.append(batch.own())
            yield batch
        if len(kept) == len(self.batches):
            self.kept = kept
