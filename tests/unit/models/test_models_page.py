"""docs/models.md tells the parameters that networks have, and does not contradict what was published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from vit_cli.models import Model
from vit_cli.models.weights.known import NAMINGS
from vit_cli.recipe.plain import read_section

PAGE = (Path(__file__).parents[3] / "docs/models.md").read_text(encoding="utf-8")
CLASSES = {"no head": 0, "21,843 classes": 21843, "CCT": 10}


class Row(NamedTuple):
    """A row of the table of models."""

    title: str
    recipe: str
    parameters: str
    published: str
    gflops: str


def read_rows() -> list[Row]:
    lines = re.findall(r"^\| (.+?) \| `(\{.+?\})` \| ([\d,]+) \| (.+?) \| (.+?) \|", PAGE, re.MULTILINE)
    return [Row(*line) for line in lines]


ROWS = read_rows()


def test_the_table_has_every_kind_of_model() -> None:
    names = {yaml.safe_load(row.recipe)["name"] for row in ROWS}
    assert names == {"vit", "deit", "hybrid", "tnt", "cct", "resnet", "convnext"}
    assert len(ROWS) >= 40


def test_the_page_names_every_family_that_weights_can_be_read_as() -> None:
    assert [naming.name for naming in NAMINGS if f"`{naming.name}`" not in PAGE] == []


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_parameters_and_operations_are_the_networks_own(row: Row) -> None:
    classes = next((number for word, number in CLASSES.items() if word in row.title), 1000)
    with torch.device("meta"):
        network = read_section(Model, yaml.safe_load(row.recipe)).build(classes)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert f"{parameters:,}" == row.parameters
    assert f"{network.flops() / 1e9:.3g}" == row.gflops
    number = row.published.removesuffix(" M")
    if row.published.endswith("M"):
        assert parameters / 1e6 == pytest.approx(float(number), abs=0.6 * 10 ** -len(number.partition(".")[2]))
    else:
        assert number == row.parameters
