"""Fine-tuning: a recipe without a model, completed by what the weights know about themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vit_cli.checkpoint.model import open_model
from vit_cli.data.source import Source, source_from_path
from vit_cli.errors import UsageError
from vit_cli.recipe.load import Loaded, load_finetune
from vit_cli.recipe.plain import read_section
from vit_cli.train.folder import find_run


def load_finetuning(
    source: Path | None, recipe: str, changes: Sequence[str] = (), res: int | None = None, data: Path | None = None
) -> Loaded:
    """Complete a fine-tuning recipe with the model, the data and the augmentation of `source` (the latest run if None).

    For other classes a head of pre-training with a hidden layer makes way for a single linear layer (ViT, section 3.2).
    Raises UsageError for a change of `finetune.weights`: model and data would not be those of the weights.
    """
    chosen = (source or find_run(None).path).absolute()  # else it would count from the recipe's folder
    saved = open_model(chosen)
    known = saved.about | saved.about.get("recipe", {})
    plain = {key: known[key] for key in ("model", "data", "augment") if known.get(key)}
    if res is not None:
        plain["model"] = plain["model"] | {"res": res}
    if data is not None:
        train, val = source_from_path(data)
        if set(read_section(Source, train).open().classes) != set(saved.class_names):
            plain["model"] = plain["model"] | {"head": "linear"}
        plain["data"] = plain.get("data", {}) | {"train": train, "val": val}
    loaded = load_finetune(recipe, changes, base=plain, weights=saved.path, given_data=data is not None)
    if loaded.recipe.finetune is None or loaded.recipe.finetune.weights != saved.path:
        raise UsageError(
            f"the weights are those of FROM, {saved.path}; no change can name others",
            "Write the weights as FROM: vit finetune WEIGHTS",
        )
    return loaded
