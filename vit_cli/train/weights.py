"""The first weights of a fine-tuning run: stretched to its resolution, with the head kept or replaced."""

from __future__ import annotations

from vit_cli.checkpoint.model import Saved
from vit_cli.data.imagenet import are_same
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.open import tell_import
from vit_cli.metrics.names import WORDS
from vit_cli.models import Model
from vit_cli.models.adapt import load_weights, renew_tables, replace_head, stretch_tables
from vit_cli.models.classifier import Classifier
from vit_cli.recipe.plain import read_section
from vit_cli.recipe.schema import Finetune, Recipe
from vit_cli.section import Grid, as_grid


def load_first_weights(
    model: Classifier, recipe: Recipe, finetune: Finetune, saved: Saved, classes: tuple[str, ...]
) -> list[str]:
    """Copy what was saved into `model`; tell what was changed on the way.

    Raises CheckpointError where weights do not fit, or a head that is to be kept is for other classes.
    """
    source: Model = read_section(Model, saved.about["model"])
    tables, stretch = recipe.model.position_grids(), finetune.positions
    if stretch == "new":
        weights, changes = renew_tables(saved.weights, tables, model)
    else:
        weights, changes = stretch_tables(saved.weights, source.position_grids(), tables, stretch)
    is_same = are_same(saved.class_names, classes) and saved.about.get("task", "classification") == recipe.task
    fits = is_same and has_head_of(saved, model)
    if finetune.head == "keep" and not fits:
        raise CheckpointError(
            f"the head of {saved.path} can't be kept: it is for {len(saved.class_names)} classes, "
            f"the data has {len(classes)}, and their names or the layers of the head differ",
            "With finetune.head=auto it is replaced then.",
        )
    if finetune.head == "new" or not fits:
        weights = replace_head(weights, model)
        changes.append(
            f"head  replaced ({len(saved.class_names)} -> {len(classes)} {WORDS[recipe.task]}, zero-initialised)"
        )
    else:
        changes.append(f"head  kept ({len(classes)} {WORDS[recipe.task]})")
    load_weights(model, weights)
    return [*tell_import(saved), *compare_res(recipe, saved), *changes, *compare_settings(recipe, saved)]


def has_head_of(saved: Saved, model: Classifier) -> bool:
    """Tell whether the saved head has the layers of the model's."""
    own = {name for name in model.state_dict() if name.startswith(model.head_names)}
    return own == {name for name in saved.weights if name.startswith(model.head_names)}


def compare_res(recipe: Recipe, saved: Saved) -> list[str]:
    """Tell the resolution that the weights were made for, if it is another one."""
    before, now = Grid(*saved.about["res"]), as_grid(recipe.model.res)
    return [] if before == now else [f"res  {before} -> {now} pixels"]


def compare_settings(recipe: Recipe, saved: Saved) -> list[str]:
    """Tell how evaluation and learning rate differ from those the weights come from."""
    before = saved.about["preprocess"]
    changes = [
        f"{key}  {before[key]} -> {after} (the recipe's)"
        for key in ("crop", "resize", "interpolation")
        if (after := getattr(recipe.eval, key)) != before[key]
    ]
    optim, old = recipe.optim, saved.about.get("recipe", {}).get("optim", {})
    decayed = f", layer decay {optim.layer_decay:g}" if optim.layer_decay < 1 else ""
    was = f"{old['lr']:g} ({old['name']}) -> " if old else ""
    return [*changes, f"learning rate  {was}{optim.lr:g} ({optim.name}{decayed})"]
