"""The page."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.report.confusion import Pair
from vit_cli.report.page import MOST_ROWS, shrink, write_page
from vit_cli.report.record import read_record
from vit_cli.train.folder import RunFolder

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Checks that tags close in order; keeps tags, sources and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def noise(width: int, height: int) -> bytes:
    """Make a PNG that no one can pack well."""
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_the_page_needs_nothing_but_itself(folder: RunFolder, evaluation: Evaluation) -> None:
    (folder.path / "plots").mkdir()
    (folder.path / "plots/curves.png").write_bytes(noise(20, 10))
    read = Reader(write_page(read_record(folder), evaluation, []))
    assert not {"script", "link", "iframe"} & set(read.tags)
    assert [source.partition(",")[0] for source in read.sources] == ["data:image/png;base64"]
    assert base64.b64decode(read.sources[0].partition(",")[2]) == noise(20, 10)
    assert "http" not in read.text
    assert "url(" not in read.text


def test_every_name_is_escaped(folder: RunFolder, evaluation: Evaluation) -> None:
    folder.write_json("status.json", {"status": "failed", "reason": "<script>x</script>"})
    names = read_record(folder).class_names
    page = write_page(read_record(folder), evaluation, [Pair(names[1], names[2], 3, 1000)])
    read = Reader(page)
    assert "script" not in read.tags
    for text in (
        "<script>alert(1)</script>",
        "猫 $5$ | note",
        "3 of 1,000",
        "pets & more",
        "'a <b>'",
        "seed: 0  # <i>",
    ):
        assert text in read.text


def test_numbers_recipe_and_evaluations_are_told(folder: RunFolder, evaluation: Evaluation) -> None:
    page = write_page(read_record(folder), evaluation, [])
    text = Reader(page).text
    for said in ("83.33 %", "1.20 M", "2 min 11 s", "adamw, lr 0.001", "total steps", "2.10", "vit predict model"):
        assert said in text
    assert page.count("<tr") == 4
    assert page.count("<tr class=best>") == 1


def test_an_empty_folder_has_a_page(tmp_path: Path) -> None:
    text = Reader(write_page(read_record(RunFolder(tmp_path)), None, [])).text
    assert "Curves" not in text
    assert "Evaluations" not in text


def test_very_many_evaluations_are_thinned_but_the_best_stays(folder: RunFolder) -> None:
    path = folder.path / "metrics.csv"
    head, row, *_ = path.read_text().splitlines()
    lines = [
        row.replace("10,1.0,", f"{step},1.0,").replace("50.0", "77.77" if step == 2 else "50.0") for step in range(999)
    ]
    path.write_text("\n".join([head, *(line.replace("True", str("77.77" in line)) for line in lines)]))
    page = write_page(read_record(folder), None, [])
    assert page.count("<tr") <= MOST_ROWS + 2
    assert page.count("<tr class=best>") == 1
    assert "77.77" in page
    assert ">998<" in page


def test_the_page_stays_below_three_megabytes(folder: RunFolder) -> None:
    for name in (
        "plots/curves",
        "plots/confusion_matrix",
        "samples/predictions",
        "samples/worst",
        "samples/train_batch",
    ):
        path = folder.path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(noise(1200, 600))
    assert len(write_page(read_record(folder), None, [])) < 3_000_000


def test_pictures_that_are_small_stay_as_they_are() -> None:
    assert shrink(noise(10, 10)) == ("png", noise(10, 10))
