"""Validation errors in the user's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_cli.errors import RecipeError
from vit_cli.recipe.load import load_recipe

GOOD = """\
model: {name: vit, size: tiny}
data: {train: {name: digits}}
augment:
  - {name: flip}
loss: {name: cross_entropy}
optim: {name: adamw}
schedule: {name: cosine}
train: {epochs: 3, batch_size: 8}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(GOOD)
    return "my.yaml"


def problems_of(recipe: str, *changes: str) -> list[str]:
    """Give the rows of the error, without what is before the key."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, changes)
    rows = caught.value.problem.splitlines()[1:]
    return [" ".join(row.removeprefix("  command line").split()) for row in rows]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("optim.wieght_decay=0.1", "optim.wieght_decay unknown key; did you mean 'weight_decay'?"),
        ("lr=0.1", "lr unknown key; it belongs under 'optim'"),
        ("optim.epochs=3", "optim.epochs unknown key; it belongs under 'train'"),
        ("schedule.batch_size=3", "schedule.batch_size unknown key; it belongs under 'train' or 'eval'"),
        ("train.seed=3", "train.seed unknown key; it belongs at the top, outside of sections"),
        ("optim.momentum=0.9", "optim.momentum unknown key of 'adamw'; it belongs to 'sgd'"),
        ("augment.0.zzz=1", "augment.0.zzz unknown key; the keys here are name, prob, direction"),
        ("optim.name=adamv", "optim.name unknown choice 'adamv'; did you mean 'adamw'? choose from adamw, sgd, lamb, muon"),
        ("augment.0={prob: 1}", "augment.0.name missing; choose from"),
        ("augment.0.name=flop", "augment.0.name unknown choice 'flop'; did you mean 'flip'?"),
        ("augment.0=flip", "augment.0 expected a section with a name (random_resized_crop,"),
        ("augment={name: flip}", "augment expected a list, not a section of keys"),
        ("optim=3", "optim expected a section with a name (adamw, sgd, lamb, muon), not 3"),
        ("optim=null", "optim expected a section with a name (adamw, sgd, lamb, muon), not null"),
        ("model.size=smal", "model.size unknown choice 'smal'; did you mean 'small'?"),
        ("model.size=3", "model.size expected 'mu' or"),
        ("model.name=resnett", "model.name unknown choice 'resnett'; did you mean 'resnet'?"),
        ("model.res=200", "model.res 200 is not a multiple of patch 16; the nearest are 192 and 208"),
        ("model.res=-16", "model.res expected a whole number above 0, or a list of 2, each a whole number above 0, not -16"),
        ("model.res=[16, x]", "model.res.1 expected a whole number above 0, not 'x'"),
        ("model.res='224'", "not '224'; write it without quotes"),
        ("optim.lr='1e-3'", "optim.lr expected a number above 0, not '1e-3'; write it without quotes"),
        ("optim.lr=fast", "optim.lr expected a number above 0, not 'fast'"),
        ("optim.lr=.inf", "optim.lr expected a number above 0, not Infinity"),
        ("optim.lr=.nan", "optim.lr expected a number above 0, not NaN"),
        ("optim.lr=1e999", "optim.lr expected a number above 0, not Infinity"),
        ("train.epochs=3.0", "train.epochs expected a whole number above 0 and of at most 1,000,000,000, or null, not 3.0"),
        ("train.epochs=true", "train.epochs expected a whole number above 0 and of at most 1,000,000,000, or null, not true"),
        ("train.deterministic=yes", "train.deterministic expected true or false, not 'yes'; write true"),
        ("train.deterministic=off", "train.deterministic expected true or false, not 'off'; write false"),
        ("train.deterministic=1", "train.deterministic expected true or false, not 1"),
        ("train.epochs=null", "train give one of epochs and steps"),
        ("train={epochs: 3}", "train.batch_size missing; expected a whole number above 0"),
        ("data.workers=-1", "data.workers expected 'auto', or a whole number of 0 or more, not -1"),
        ("seed=99999999999999999999", "seed expected a whole number from 0 to 9,223,372,036,854,775,807, not 99999999999999999999"),
        ("data.workers=many", "data.workers expected 'auto', or a whole number of 0 or more, not 'many'"),
        ("data.mean=[1, 2]", "data.mean.2 missing; expected a number"),
        ("data.mean=[1, 2, 3, 4]", "data.mean expected a list of 3, each a number, not [1, 2, 3, 4]"),
        ("data.train={name: folder, root: 3}", "data.train.root expected a path, not 3"),
        ("data.fold=5", "data there is no fold 5 of 0.2; the last is 4"),
        ("data={train: {name: digits}, val: {name: digits}, fold: 1}", "data fold is for images that are held out of train"),
        ("data.fraction=0", "data.fraction expected a number above 0 and of at most 1, not 0"),
        ("data.hold_out=1", "data.hold_out expected a number above 0 and below 1, not 1"),
        ("loss.class_weights={cat: x}", "loss.class_weights.cat expected a number above 0, not 'x'"),
        ("loss.class_weights=some", "loss.class_weights expected 'none' or 'auto', or keys with a number above 0 each, not"),
        ("schedule.warmup=5", "schedule.warmup 5 has no unit; write for example '10 epochs', '500 steps' or '20%'"),
        ("schedule.warmup=120%", "schedule.warmup '120%' is more than the whole run"),
        ("seed=-1", "seed expected a whole number from 0 to 9,223,372,036,854,775,807, not -1"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem_in_plain_words(recipe: str, change: str, problem: str) -> None:
    rows = problems_of(recipe, change)
    assert len(rows) == 1
    assert problem in rows[0]


def test_all_problems_come_at_once_with_file_and_line(recipe: str) -> None:
    text = GOOD.replace("tiny}", "tiny, res: 200}").replace("adamw}", "adamw, wieght_decay: 1}")
    Path(recipe).write_text(text + "lr: 1\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, ["seed=x", "modell.res=3"])
    assert caught.value.problem.splitlines() == [
        "my.yaml has 5 problems",
        "  my.yaml:1     model.res           200 is not a multiple of patch 16; the nearest are 192 and 208",
        "  my.yaml:6     optim.wieght_decay  unknown key; did you mean 'weight_decay'?",
        "  my.yaml:9     lr                  unknown key; it belongs under 'optim'",
        "  command line  modell              unknown key; did you mean 'model'?",
        "  command line  seed                expected a whole number from 0 to 9,223,372,036,854,775,807, not 'x'",
    ]


def test_no_message_shows_the_words_of_the_library(recipe: str) -> None:
    changes = [
        "model=1",
        "data=[]",
        "augment=5",
        "loss={}",
        "optim.lr=[]",
        "schedule={name: []}",
        "train.ema=3",
        "eval=x",
        "seed={}",
    ]
    text = "\n".join(problems_of(recipe, *changes))
    assert len(text.splitlines()) == len(changes)
    for word in ("Input should", "valid", "tag", "dict", "tuple", "pydantic", "literal", "constrained"):
        assert word not in text


def test_long_values_are_shortened(recipe: str) -> None:
    assert len(problems_of(recipe, f"optim.lr={'x' * 500}")[0]) < 140
