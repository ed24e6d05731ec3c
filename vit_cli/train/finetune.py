"""Fine-tuning: a recipe without a model, completed by what the weights know about themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import Saved
from vit_cli.data.imagenet import are_same
from vit_cli.data.source import Plain, Source, source_from_path, with_columns
from vit_cli.data.targets import open_source
from vit_cli.errors import UsageError
from vit_cli.evaluate.open import open_weights
from vit_cli.recipe.load import PREPARATION, Loaded, load_any, load_finetune
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
    saved = open_weights(chosen)
    known = saved.about | saved.about.get("recipe", {})
    keys = ("task", "model", "data", "augment", "loss")
    plain = {key: known[key] for key in keys if known.get(key)} | prepared_like(saved)
    if res is not None:
        plain["model"] = plain["model"] | {"res": res}
    if data is not None:
        own = plain.get("data", {}).get("train")
        given, given_val = source_from_path(data)
        train, val = with_columns(given, own), with_columns(given_val, own) if given_val else None
        plain["data"] = put_images(plain.get("data", {}), train, val)
        asked = load_finetune(recipe, changes, base=plain, weights=saved.path, given_data=True).recipe
        classes = open_source(asked.data.train, asked.task).classes
        is_same = set(classes) == set(saved.class_names) or are_same(saved.class_names, classes)
        if not is_same and "head" in plain["model"]:
            plain["model"] = plain["model"] | {"head": "linear"}
    if "imported" in saved.about and data is None and not names_data(recipe, changes):
        raise UsageError(f"{saved.path} does not say what data to learn from", "Name a folder of images: --data DIR")
    loaded = load_finetune(recipe, changes, base=plain, weights=saved.path, given_data=data is not None)
    if loaded.recipe.finetune is None or loaded.recipe.finetune.weights != saved.path:
        raise UsageError(
            f"the weights are those of FROM, {saved.path}; no change can name others",
            "Write the weights as FROM: vit finetune WEIGHTS",
        )
    return loaded


def put_images(data: Plain, train: Plain, val: Plain | None) -> Plain:
    """Put images into a section; its fold, and the fraction of them that is learned from, are of its own images alone."""
    is_same = "train" in data and read_section(Source, data["train"]) == read_section(Source, train)
    others = () if is_same and val is None else ("fold",) if is_same else ("fold", "fraction")
    return {key: value for key, value in data.items() if key not in others} | {"train": train, "val": val}


def names_data(recipe: str, changes: Sequence[str]) -> bool:
    """Tell whether a recipe, or a change of it, says where images come from."""
    return load_any(recipe).data is not None or any(change.startswith("data.train") for change in changes)


def prepared_like(saved: Saved) -> dict[str, Any]:
    """Give the sections of a recipe that say how imported weights want their images; a run's weights have a recipe."""
    if "imported" not in saved.about:
        return {}
    preprocess: Preprocess = read_section(Preprocess, saved.about["preprocess"])
    plain = preprocess.model_dump(mode="json")
    return {key: {name: plain[name] for name in names} for key, names in PREPARATION.items()}
