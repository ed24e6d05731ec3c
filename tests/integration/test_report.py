"""`vit report`: the page in a real browser, and runs that are not finished."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.browser import browsing, find_browser
from tests.integration.conftest import TINY, Run, is_refused, write_photos

OVERFLOW = """
[...document.querySelectorAll("body *")].filter(e => !e.closest(".wide, pre, nav") && !e.closest("svg")
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).map(e => e.outerHTML.slice(0, 80))
"""
UNREADABLE = """
[...document.querySelectorAll("main p, main td, main dd, svg text")].filter(e => {
  const ink = e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color;
  const [r, g, b] = ink.match(/\\d+/g).map(Number);
  const light = (r + g + b) / 3, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return e.textContent.trim() && !(r == 255 && g == 255 && b == 255) && (dark ? light < 90 : light > 170);
}).map(e => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is finished and has learned little, beside its photos."""
    place = tmp_path_factory.mktemp("trained")
    recipe = place / "tiny.yaml"
    recipe.write_text(TINY.format(root=write_photos(place / "photos"), workers=0, steps=5))
    words = [sys.executable, "-m", "vit_cli", "train", recipe, "--out", place / "run", "-q", "model.depth=1"]
    subprocess.run(words, cwd=place, check=True, timeout=100, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return place / "run"


@pytest.fixture
def done(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


@pytest.mark.slow
def test_the_page_of_a_run_is_right_in_a_browser_wide_and_narrow_light_and_dark(done: Path, tmp_path: Path) -> None:
    path = find_browser()
    if path is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    with browsing(path, tmp_path / "profile") as browser:
        for width, is_dark in ((1280, False), (390, True)):
            browser.open(done / "report.html", width, is_dark)
            assert browser.said == []
            assert browser.requested == [(done / "report.html").as_uri()]
            assert browser.run("document.images.length") > 10
            assert browser.run("[...document.images].filter(image => !image.naturalWidth).length") == 0
            assert browser.run("document.querySelectorAll('svg.chart').length") == 8
            assert browser.run("document.documentElement.scrollWidth") == width
            assert browser.run(OVERFLOW) == []
            assert browser.run(UNREADABLE) == []
            shown = browser.run("getComputedStyle(document.querySelector('nav')).display")
            assert shown == ("block" if width == 1280 else "none")
        missing = "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length"
        assert browser.run(missing) == 0


def test_a_report_is_written_again_without_the_data_to_the_same_page(vit: Run, done: Path, trained: Path) -> None:
    before = (done / "report.html").read_bytes()
    shutil.rmtree(trained.parent / "photos", ignore_errors=True)
    result = vit("report", done, "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert (facts["state"], facts["page"]) == ("finished", str(done / "report.html"))
    assert facts["scores"].keys() >= {"top1", "loss", "macro_f1"}
    assert (done / "report.html").read_bytes() == before
    assert is_refused(vit("report", done, "--evaluate"), 3, "photos")


def test_the_page_alone_can_go_elsewhere(vit: Run, done: Path, tmp_path: Path) -> None:
    (done / "report.html").unlink()
    assert vit("report", done, "--out", tmp_path / "page.html", "-q").code == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert not (done / "report.html").exists()
    assert is_refused(vit("report", done, "--out", tmp_path), 2, "is a folder")
    assert is_refused(vit("report", done, "--out", tmp_path / "no/page.html"), 2, "there is no folder")


def test_a_run_that_was_killed_has_a_report_that_says_so(vit: Run, done: Path) -> None:
    status = json.loads((done / "status.json").read_text())
    (done / "status.json").write_text(json.dumps(status | {"status": "running", "step": 3}))
    for name in ("summary.json", "evaluation.json"):
        (done / name).unlink()
    result = vit("report", done)
    assert result.code == 0, result.err
    assert "the run is crashed" in result.out
    page = (done / "report.html").read_text()
    assert "This run ended without a word" in page
    assert "step 5 of 5" in page, "the last row is newer than the last heartbeat"
    assert "vit resume ." in page
    assert "ended without a word" in (done / "README.md").read_text()


def test_only_a_run_has_a_report(vit: Run, tmp_path: Path) -> None:
    assert is_refused(vit("report", tmp_path), 2, "is no run folder")
    assert is_refused(vit("report"), 2, "there is no run here yet")
