"""The style of pictures."""

import matplotlib as mpl
import pytest

from vit_cli.inspect.style import drawing, shorten


def test_drawing_leaves_nothing_behind() -> None:
    before = dict(mpl.rcParams)
    with drawing():
        assert mpl.rcParams["axes.spines.top"] is False
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("name", "limit", "short"),
    [
        ("cat", 3, "cat"),
        ("n01440764_tench", 10, "n01440…nch"),
        ("two\nlines  x", 20, "two lines x"),
        ("abcdef", 2, "a…"),
    ],
)
def test_long_names_lose_their_middle(name: str, limit: int, short: str) -> None:
    assert shorten(name, limit) == short
    assert len(short) <= limit or name == short
