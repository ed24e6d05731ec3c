"""A recipe in a few lines."""

from __future__ import annotations

from vit_cli.recipe.schema import FinetuneRecipe, Recipe
from vit_cli.section import as_grid


def summarise(recipe: Recipe | FinetuneRecipe) -> dict[str, str]:
    """Say what a recipe would do, in words."""
    facts = {"seed": str(recipe.seed)}
    if isinstance(recipe, Recipe):
        model = recipe.model
        keys = model.model_dump()
        patch = f", patch {keys['patch']}" if "patch" in keys else ""
        facts["model"] = f"{model.name} {model.size or 'of its own size'}{patch}, {as_grid(model.res)} pixels"
    else:
        facts["model"] = "comes with the weights"
    if recipe.data is None:
        facts["data"] = "come with the weights"
    else:
        held = (
            f"{recipe.data.hold_out:g} of it held out{f' (fold {recipe.data.fold})' if recipe.data.fold else ''}"
            if recipe.data.val is None
            else f"validated on {recipe.data.val.title}"
        )
        trained = "" if recipe.data.fraction == 1 else f", {recipe.data.fraction:g} of the rest trained on"
        facts["data"] = f"{recipe.data.train.title}, {held}{trained}"
    facts["augment"] = ", ".join(item.name for item in recipe.augment) or "nothing"
    facts["train"] = f"{recipe.train.length}, batch {recipe.train.batch_size}, {recipe.loss.name}"
    if recipe.train.phases:
        facts["phases"] = ", ".join(str(phase) for phase in recipe.train.phases)
    if recipe.distill is not None:
        facts["distill"] = f"{recipe.distill}, from {recipe.distill.source}"
    facts["optim"] = (
        f"{recipe.optim.name}, lr {recipe.optim.lr:g}, {recipe.schedule.name} after {recipe.schedule.warmup}"
    )
    return facts
