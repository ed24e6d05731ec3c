"""The first weights of a fine-tuning run: stretched to its resolution, with the head kept or replaced."""

from __future__ import annotations

from vit_cli.checkpoint import Saved
from vit_cli.errors import CheckpointError
from vit_cli.models import Model
from vit_cli.models.adapt import load_weights, replace_head, stretch_tables
from vit_cli.models.classifier import Classifier
from vit_cli.recipe.plain import read_section
from vit_cli.recipe.schema import Finetune, Recipe


def load_first_weights(model: Classifier, recipe: Recipe, saved: Saved, classes: tuple[str, ...]) -> list[str]:
    """Copy what was saved into `model`; tell what was changed on the way.

    Raises CheckpointError where weights do not fit, or a head that is to be kept is for other classes.
    """
    finetune = recipe.finetune or Finetune(weights=saved.path)
    source = read_section(Model, saved.about["model"])
    stretched = stretch_tables(
        saved.weights, source.position_grids(), recipe.model.position_grids(), finetune.positions
    )
    weights, changes = stretched
    same = saved.class_names == classes
    if finetune.head == "keep" and not same:
        raise CheckpointError(
            f"{saved.path} has a head for {len(saved.class_names)} classes that are not the {len(classes)} of this data",
            "With finetune.head=auto the head is replaced when the classes differ.",
        )
    if finetune.head == "new" or not same:
        weights = replace_head(weights, model)
        changes.append(f"head  replaced ({len(saved.class_names)} -> {len(classes)} classes, zero-initialised)")
    else:
        changes.append(f"head  kept ({len(classes)} classes)")
    load_weights(model, weights)
    return changes
