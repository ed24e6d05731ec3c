"""The schema: strict everywhere, and with sane defaults."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vit_cli.recipe.schema import FinetuneRecipe, Recipe, Train
from vit_cli.recipe.shape import walk

SECTIONS = {section for root in (Recipe, FinetuneRecipe) for _, section in walk(root)}


def test_the_walk_sees_all_sections() -> None:
    names = {section.__name__ for section in SECTIONS}
    assert len(SECTIONS) >= 40
    assert names >= {
        "Recipe", "FinetuneRecipe", "Vit", "Data", "Folder", "Digits", "HuggingFace", "Torchvision", "Synthetic", "Flip",
        "RandomResizedCrop", "RandomErasing", "Mix", "CrossEntropy", "BinaryCrossEntropy", "AdamW", "Sgd", "Lamb", "Muon",
        "Cosine", "Linear", "Rsqrt", "Constant", "Train", "Ema", "EarlyStop", "Eval", "Save", "Track", "Finetune", "Stretch",
    }  # fmt: skip


@pytest.mark.parametrize("section", sorted(SECTIONS, key=lambda section: section.__name__))
def test_no_section_takes_unknown_keys_or_changes_or_converts(section: type) -> None:
    config = section.model_config
    assert (config["extra"], config["frozen"], config["strict"], config["allow_inf_nan"]) == (
        "forbid",
        True,
        True,
        False,
    )


@pytest.mark.parametrize("section", sorted(SECTIONS, key=lambda section: section.__name__))
def test_every_section_says_what_it_is(section: type) -> None:
    assert section.__doc__


@pytest.mark.parametrize("lengths", [{}, {"epochs": 1, "steps": 1}])
def test_training_has_exactly_one_length(lengths: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="one of epochs and steps"):
        Train(batch_size=1, **lengths)


def test_the_length_of_training_is_a_duration() -> None:
    assert str(Train(batch_size=1, epochs=1).length) == "1 epoch"
    assert str(Train(batch_size=1, steps=20).length) == "20 steps"
