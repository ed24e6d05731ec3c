"""Writing the whole report."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from vit_cli.errors import TrainingError
from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.metrics.classification import Classification
from vit_cli.report.pictures import FRAME, GAP, TITLE
from vit_cli.report.sheets import See
from vit_cli.report.write import draw_answers, write_report, write_train_batch
from vit_cli.train.folder import RunFolder

ABC = Classification("abc")
MADE = {
    "plots/curves.png",
    "plots/confusion_matrix.png",
    "samples/predictions.png",
    "samples/worst.png",
    "samples/train_batch.png",
    "README.md",
    "report.html",
}


def files(folder: RunFolder) -> set[str]:
    """Name those of the report's files that are there."""
    return {name for name in MADE if (folder.path / name).is_file()}


@pytest.mark.slow
def test_everything_is_written(folder: RunFolder, evaluation: Evaluation, see: See) -> None:
    write_train_batch(folder, torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5) % 3, ABC)
    assert write_report(folder, evaluation, see) == folder.path / "report.html"
    assert files(folder) == MADE
    page = (folder.path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 5 + 12 + 2, "the batch, the predictions, the mistakes"
    assert page.count("<svg class=chart") == 6 + 1
    worst = page[page.index("Worst mistakes</h2>") : page.index("Predictions</h2>")]
    assert worst.index("<small>cats &amp; dogs/107.jpg</small>") < worst.index("<small>cats &amp; dogs/103.jpg</small>")
    write_report(folder)
    again = (folder.path / "report.html").read_text(encoding="utf-8")
    assert again == page, "without data and answers the same"


def test_a_run_that_crashed_before_its_first_step_has_a_report(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_report(folder)
    assert files(folder) == {"README.md", "report.html"}


def test_a_later_report_keeps_the_pictures(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_train_batch(folder, torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5) % 3, ABC)
    write_report(folder)
    assert (folder.path / "report.html").read_text(encoding="utf-8").count("data:image/png") == 5


def test_the_worst_mistake_stands_first(tmp_path: Path, evaluation: Evaluation, see: See) -> None:
    assert evaluation.answers
    draw_answers(tmp_path, evaluation.answers, ABC, see)
    with Image.open(tmp_path / "worst.png") as image:
        step = 144 + 2 * FRAME + GAP
        pixels = [image.convert("RGB").getpixel((GAP + FRAME + place * step + 9, TITLE + 9)) for place in (0, 1)]
    assert pixels == [(107, 107, 107), (103, 103, 103)]


def test_without_mistakes_there_is_no_picture_of_them(tmp_path: Path, evaluation: Evaluation, see: See) -> None:
    (tmp_path / "worst.png").touch()
    assert evaluation.answers
    right = replace(evaluation.answers, predicted=evaluation.answers.labels)
    draw_answers(tmp_path, right, ABC, see)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.png"]


@pytest.mark.slow
def test_scores_alone_are_enough(folder: RunFolder, evaluation: Evaluation) -> None:
    write_report(folder, replace(evaluation, confusion=None, answers=None))
    assert files(folder) == {"plots/curves.png", "README.md", "report.html"}


@pytest.mark.slow
def test_a_page_elsewhere_leaves_the_folder_as_it_is(
    folder: RunFolder, tmp_path: Path, evaluation: Evaluation, see: See
) -> None:
    before = sorted(folder.path.rglob("*"))
    assert write_report(folder, evaluation, see, page=tmp_path / "page.html") == tmp_path / "page.html"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<svg class=chart" in page
    assert "Worst mistakes" in page
    assert sorted(folder.path.rglob("*")) == before


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "README.md").mkdir()
    with pytest.raises(TrainingError, match=r"README\.md can't be written"):
        write_report(RunFolder(tmp_path))
