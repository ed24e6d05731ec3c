"""Every command that README.md and docs/ show is one that vit understands, and the chosen ones do what they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
import typer.main

from tests.integration.conftest import Run, write_photos
from vit_cli.cli.main import app
from vit_cli.errors import VitError
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.load import load_any

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
VIT = typer.main.get_command(app)
STAND_IN = "photos"
"""The shipped recipe that is asked in the place of one that only the reader has."""


class Command(NamedTuple):
    """A call of vit, and where it stands."""

    place: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place} vit {' '.join(self.words)}"


def list_commands(page: Path) -> Iterator[Command]:
    """Give every call of vit in the console blocks of a page, however it is started."""
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for typed in re.finditer(r"^\$ ((?:.*\\\n)*.*)$", block[1], re.MULTILINE):
            line = 1 + text.count("\n", 0, block.start(1) + typed.start())
            for words in split_shell(typed[1]):
                yield Command(f"{page.relative_to(ROOT)}:{line}", words)


def split_shell(typed: str) -> Iterator[tuple[str, ...]]:
    """Give the words after `vit`, or after `-m vit_cli`, of every command in a line of the shell; a variable counts as 1."""
    lexer = shlex.shlex(typed.replace("\\\n", " "), posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set(";|&<>"):
            starts = [place for place, word in enumerate(words) if word in ("vit", "vit_cli")]
            if starts:
                yield tuple(re.sub(r"\$\w+", "1", word) for word in words[starts[0] + 1 :])
            words = []
        else:
            words.append(token)


COMMANDS = [command for page in PAGES for command in list_commands(page)]


def read_command(words: tuple[str, ...]) -> tuple[str, list[str], str | None]:
    """Give the name of a command, its arguments and its --recipe, read as the command line reads them, which may fail."""
    name, rest, command = "", list(words), VIT
    while hasattr(command, "commands"):
        assert rest, f"vit{name} needs a command"
        assert rest[0] in command.commands, f"vit{name} has no command {rest[0]!r}"
        name, command = f"{name} {rest[0]}", command.commands[rest.pop(0)]
    found = command.make_context(name, rest).params
    values = [found[one.name] for one in command.params if one.param_type_name == "argument"]
    flat = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return name.strip(), [str(text) for text in flat if text is not None], found.get("recipe")


def find_recipe(name: str, first: str | None, recipe: str | None) -> str:
    """Give the shipped recipe that a command names, or one that stands in for the reader's own."""
    if name == "finetune" and recipe is not None:
        return recipe
    if first in shipped_recipes():
        return first
    assert name not in ("train", "recipe show") or str(first).endswith(".yaml"), f"there is no recipe {first}"
    return STAND_IN


def understand(words: tuple[str, ...]) -> str:
    """Give the name of a command; fail unless it is understood, its recipe is there, and its changes fit the recipe."""
    if words[1:] == ("...",):
        assert words[0] in VIT.commands
        return words[0]
    name, texts, recipe = read_command(words)
    changes = [text for text in texts if re.match(r"[a-z_][\w.]*=", text)]
    first = next((text for text in texts if text not in changes), None)
    load_any(find_recipe(name, first, recipe), changes)
    return name


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_understood_and_its_changes_fit_the_recipe(command: Command) -> None:
    assert " ".join(command.words).startswith(understand(command.words))


def test_many_commands_were_seen_and_every_verb_among_them() -> None:
    assert len(COMMANDS) >= 70
    assert len({command.place.partition(":")[0] for command in COMMANDS}) >= 5
    assert {command.words[0] for command in COMMANDS} == set(VIT.commands)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("vit trian digits", "no command 'trian'"),
        ("vit data", "needs a command"),
        ("vit eval runs/latest --per-clas", "--per-clas"),
        ("vit train digit", "no recipe digit"),
        ("for s in 0 1; do vit train digits seed=$s optim.lrr=1; done", "optim.lrr"),
        ("torchrun -m vit_cli train digits train.epochs=ten | tail", "train.epochs"),
    ],
)
def test_a_wrong_command_is_noticed(typed: str, told: str) -> None:
    [words] = split_shell(typed)
    with pytest.raises((AssertionError, VitError, typer.TyperException)) as noticed:
        understand(words)
    assert told in str(noticed.value)


RUN = {
    "train digits": ["train.steps=3", "-q"],
    "eval runs/latest": [],
    "predict runs/latest photos": [],
    "probe runs/latest": ["--only", "knn,fewshot"],
    "checkpoint hash runs/latest": [],
    "export runs/latest --format timm": [],
    "recipe copy photos my.yaml": [],
    "recipe check my.yaml optim.lr=3e-4": [],
    "data check photos": [],
    "data pack photos packed --short-side 320": [],
    "env --json": [],
}
"""What is run, in this order in one folder, with what makes it short."""


@pytest.mark.slow
def test_the_chosen_commands_run(vit: Run, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", per_class=4)
    shown = {" ".join(command.words) for command in COMMANDS}
    assert set(RUN) <= shown, "a page no longer shows what is run here"
    for typed, more in RUN.items():
        result = vit(*typed.split(), *more)
        assert (result.code, "Error" in result.err) == (0, False), (typed, result)
