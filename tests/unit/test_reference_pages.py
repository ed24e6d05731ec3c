"""docs/reference is what scripts/write_reference.py writes of the schema and the command line, and its links lead somewhere."""

from __future__ import annotations

import re

import pytest

from scripts.write_reference import PAGES, list_places, write_pages
from vit_cli.recipe.schema import Recipe

WRITTEN = write_pages()
HINT = "run: python scripts/write_reference.py"


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_is_current(name: str) -> None:
    assert (PAGES / name).read_text(encoding="utf-8") == WRITTEN[name], HINT


def test_no_page_is_left_over() -> None:
    assert {path.name for path in PAGES.iterdir()} == set(WRITTEN), HINT


@pytest.mark.parametrize("name", WRITTEN)
def test_links_lead_to_headings_each_of_which_is_there_once(name: str) -> None:
    headings = re.findall(r"^#+ (.+)$", WRITTEN[name], re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\]\(#(.+?)\)", WRITTEN[name])
    assert set(links) <= set(anchors)
    assert name != "recipe.md" or len(links) > 80


def test_every_section_of_a_recipe_has_a_heading_and_every_key_a_row() -> None:
    page = WRITTEN["recipe.md"]
    places = list_places(Recipe)
    assert len(places) > 50
    for place in places:
        _, _, rest = page.partition(f"# {place.title}\n")
        keys = re.findall(r"^\| `(\w+)` \|", rest.partition("\n#")[0], re.MULTILINE)
        assert set(keys) == set(place.section.model_fields) - {"name"}, place.title


def test_rows_tell_bounds_defaults_and_descriptions() -> None:
    rows = WRITTEN["recipe.md"].splitlines()
    assert (
        "| `hold_out` | a number above 0 and below 1 | `0.2` | share of train that is held out where val is null |"
        in rows
    )
    assert "| `batch_size` | a whole number above 0 | required | images of a step, over all processes |" in rows
    assert "| `--res` N |  | Resolution in pixels; positions are stretched. |" in WRITTEN["commands.md"].splitlines()
