"""The page."""

import base64
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.report.card import write_card
from vit_cli.report.confusion import Pair
from vit_cli.report.html import shrink
from vit_cli.report.judged import read_evaluation
from vit_cli.report.origin import find_borders
from vit_cli.report.page import LARGEST_SHEET, MOST_ROWS, Charts, share_evenly, write_page
from vit_cli.report.pictures import draw_grid
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
    (folder.path / "plots/scatter.png").write_bytes(noise(20, 10))
    read = Reader(write_page(read_record(folder), evaluation, Charts()))
    assert not {"script", "link", "iframe"} & set(read.tags)
    (picture,) = (source for source in read.sources if not source.startswith("#"))
    assert picture.startswith("data:image/png;base64,")
    assert base64.b64decode(picture.partition(",")[2]) == noise(20, 10)
    assert "http" not in read.text
    assert "url(" not in read.text


def test_every_name_is_escaped(folder: RunFolder, evaluation: Evaluation) -> None:
    folder.write_json("status.json", {"status": "failed", "reason": "<script>x</script>"})
    names = read_record(folder).class_names
    page = write_page(read_record(folder), evaluation, Charts((), "<svg></svg>", [Pair(names[1], names[2], 3, 1000)]))
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
    page = write_page(read_record(folder), evaluation, Charts())
    text = Reader(page).text
    for said in ("83.33 %", "1.20 M", "2 min 11 s", "adamw, lr 0.001", "total steps", "2.10", "vit predict model"):
        assert said in text
    assert page.count("<tr") == 4
    assert page.count("<tr class=best>") == 1


def test_an_empty_folder_has_a_page(tmp_path: Path) -> None:
    text = Reader(write_page(read_record(RunFolder(tmp_path)), None, Charts())).text.partition("</style>")[2]
    assert "Curves" not in text
    assert "Evaluations" not in text


def test_very_many_evaluations_are_thinned_but_the_best_stays(folder: RunFolder) -> None:
    path = folder.path / "metrics.csv"
    head, row, *_ = path.read_text().splitlines()
    lines = [
        row.replace("10,1.0,", f"{step},1.0,").replace("50.0", "77.77" if step == 2 else "50.0") for step in range(999)
    ]
    path.write_text("\n".join([head, *(line.replace("True", str("77.77" in line)) for line in lines)]))
    page = write_page(read_record(folder), None, Charts())
    assert page.count("<tr") <= MOST_ROWS + 2
    assert page.count("<tr class=best>") == 1
    assert "77.77" in page
    assert ">998<" in page


@pytest.mark.slow
def test_the_page_stays_below_three_megabytes(folder: RunFolder) -> None:
    random = torch.Generator().manual_seed(0)
    for name, side in (("predictions", 160), ("worst", 96), ("train_batch", 72)):
        photos = torch.randint(0, 256, (40, 3, side, side), dtype=torch.uint8, generator=random)
        draw_grid(photos, ["a"] * 40, folder.path / f"samples/{name}.png")
    (folder.path / "plots").mkdir()
    (folder.path / "plots/scatter.png").write_bytes(noise(400, 400))
    (folder.path / "inspect").mkdir()
    for number in range(12):
        (folder.path / f"inspect/{number}.png").write_bytes(noise(700, 500))
    page = write_page(read_record(folder), None, Charts())
    assert page.count("<img") == 3 * 40 + 1 + 12
    assert len(page) < 3_000_000


def test_what_small_pictures_leave_of_the_room_is_for_the_large_ones() -> None:
    assert share_evenly([10, 20, 500], 100) == 70
    assert share_evenly([10, 500, 500], 100) == 45
    assert share_evenly([10, 20, 30], 100) >= 30
    assert share_evenly([], 100) == 100


def test_a_damaged_picture_is_named_and_left_out(folder: RunFolder) -> None:
    for name in ("samples/worst.png", "inspect/filters.png"):
        (folder.path / name).parent.mkdir()
        (folder.path / name).write_bytes(noise(20, 10)[:40])
    read = Reader(write_page(read_record(folder), None, Charts()))
    assert "worst.png is damaged" in read.text
    assert "filters.png is damaged" in read.text
    assert "img" not in read.tags


def test_samples_are_shown_one_by_one_with_their_captions(folder: RunFolder) -> None:
    image = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    draw_grid(image, ["✓ a", "✗ <b>\nis 猫"], folder.path / "samples/worst.png", title="2 of 9", marks=[True, False])
    page = write_page(read_record(folder), None, Charts())
    read = Reader(page)
    shown = [source for source in read.sources if source.startswith("data:")]
    for source, pixels in zip(shown, image, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as found:
            np.testing.assert_array_equal(np.asarray(found), pixels.permute(1, 2, 0).numpy())
    assert "2 of 9" in read.text
    assert "✗ <b>is 猫" in read.text
    assert page.count("<figure class=right>") == page.count("<figure class=wrong>") == 1


def test_a_sheet_of_an_older_vit_is_shown_as_it_is(folder: RunFolder) -> None:
    (folder.path / "samples").mkdir()
    (folder.path / "samples/worst.png").write_bytes(noise(20, 10))
    assert 'class="photo"><img src="data:image/png' in write_page(read_record(folder), None, Charts())
    assert len(noise(20, 10)) < LARGEST_SHEET


def test_the_worst_class_stands_first(folder: RunFolder, evaluation: Evaluation) -> None:
    rows = [
        {"class": name, "images": 4, "precision": 50.0, "recall": 50.0, "f1": f1}
        for name, f1 in (("a", 90.0), ("b", 7.5))
    ]
    text = Reader(write_page(read_record(folder), replace(evaluation, per_class=tuple(rows)), Charts())).text
    assert text.index("7.50") < text.index("90.00")


def test_phases_and_the_start_of_a_fine_tuning_run_are_told(folder: RunFolder) -> None:
    phases = [{"until_step": 15, "res": 8, "drop_tokens": 0.5}, {"until_step": 30, "res": [16, 24], "drop_tokens": 0.0}]
    folder.write_json("plan.json", {"images": 40, "batch_size": 4, "total_steps": 30, "phases": phases})
    recipe = json.loads((folder.path / "model/config.json").read_text())
    recipe["recipe"]["finetune"] = {"weights": "/runs/before/model"}
    folder.write_json("model/config.json", recipe)
    changes = ["res  8x8 -> 16x16 pixels", "positions  2x2 -> 4x4 (bicubic)", "head  kept (3 classes)"]
    folder.write_json("start.json", {"changes": changes, "before": {"top1": 43.21}})
    text = Reader(write_page(read_record(folder), None, Charts())).text
    for said in (
        "0 to 15",
        "15 to 30",
        "16x24",
        "50%",
        "/runs/before/model",
        "8x8 -> 16x16 pixels",
        "top-1 43.21 %",
        "kept (3",
    ):
        assert said in text
    assert find_borders(read_record(folder)) == [1.5]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"status": "running", "step": 7, "total_steps": 30, "heartbeat": "2026-11-20T10:15:02+00:00"},
            "without a word",
        ),
        ({"status": "running", "heartbeat": "2026-11-20T10:15:02+01:00"}, "2026-11-20 10:15:02 UTC+01:00."),
        ({"status": "running", "heartbeat": "just now"}, "Its last sign of life is of just now."),
        ({"status": "interrupted", "reason": "stopped by Ctrl-C"}, "This run was interrupted: stopped by Ctrl-C."),
        ({"status": "failed", "reason": "no memory"}, "This run failed: no memory."),
        ({}, "does not say how its run stands"),
    ],
)
def test_a_run_that_did_not_finish_says_so_on_top(folder: RunFolder, status: dict[str, object], said: str) -> None:
    folder.write_json("status.json", status)
    text = Reader(write_page(read_record(folder), None, Charts())).text
    assert text.index(said) < text.index("top-1")


def test_a_damaged_file_is_named_and_left_out(folder: RunFolder) -> None:
    (folder.path / "summary.json").write_text('{"best_top1": ')
    text = Reader(write_page(read_record(folder), None, Charts())).text
    assert "summary.json is damaged and was left out." in text
    assert "60.00 %" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", {"phases": [3], "images": 12}),
        ("env.json", {"packages": ["torch"], "gpus": 1}),
        ("status.json", {"status": "failed", "step": "20"}),
        ("summary.json", {"parameters": "many", "train_seconds": None}),
        ("start.json", {"changes": 7, "before": []}),
        ("evaluation.json", {"step": 20, "scores": ["top1"], "seconds": 1.0, "per_class": []}),
        ("model/config.json", {"class_names": {"0": "cat"}, "res": 8}),
    ],
)
def test_a_file_that_somebody_changed_is_named_and_left_out(
    folder: RunFolder, name: str, content: dict[str, object]
) -> None:
    folder.write_json(name, folder.read_json(name) | content)
    record = read_record(folder)
    for text in (Reader(write_page(record, read_evaluation(record), Charts())).text, write_card(record, None)):
        assert f"{name} is damaged and was left out." in text
        assert "60.00 %" in text


def test_pictures_that_are_small_stay_as_they_are() -> None:
    assert shrink(noise(10, 10), limit=1000) == ("png", noise(10, 10))
