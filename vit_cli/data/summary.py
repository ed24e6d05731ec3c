"""What the console says about the data."""

from __future__ import annotations

from vit_cli.data.open import Splits


def describe(splits: Splits) -> str:
    """Say how many, and from where: "1,438 train + 359 held-out images, 10 classes, digits (scikit-learn)"."""
    kind = "val" if splits.held is None else "held-out"
    fold, fraction = (splits.parting.fold, splits.parting.fraction) if splits.parting else (0, 1)
    part = "" if fraction == 1 else f" ({100 * fraction:.3g} % of each class)"
    where = f" (fold {fold})" if fold else ""
    counts = f"{len(splits.train):,} train{part} + {len(splits.val):,} {kind} images{where}"
    word = {"classification": "classes", "multilabel": "labels", "regression": "targets"}[splits.task]
    told = word[:-1] if len(splits.classes) == 1 else word
    return f"{counts}, {len(splits.classes):,} {told}, {splits.title}"
