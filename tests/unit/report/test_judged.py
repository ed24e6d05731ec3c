"""The evaluation that is kept."""

import json
import math
from dataclasses import replace

import pytest
import torch

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.report.card import write_card
from vit_cli.report.judged import from_cells, keep_evaluation, read_evaluation, to_cells
from vit_cli.report.page import Charts, write_page
from vit_cli.report.record import read_record
from vit_cli.train.folder import RunFolder


def test_what_was_kept_is_given_back_without_the_answers(folder: RunFolder, evaluation: Evaluation) -> None:
    bins = torch.rand(3, 16, dtype=torch.float64)
    rows = ({"class": "猫", "images": 4, "f1": 12.5},)
    keep_evaluation(folder, replace(evaluation, per_class=rows, calibration=bins), step=20)
    found = read_evaluation(read_record(folder))
    assert found is not None
    assert (found.scores, found.per_class, found.answers) == (evaluation.scores, rows, None)
    assert evaluation.confusion is not None
    assert found.confusion is not None
    torch.testing.assert_close(found.confusion, evaluation.confusion)
    torch.testing.assert_close(found.calibration, bins)


def test_a_loss_that_is_no_number_is_kept_as_json_has_it(folder: RunFolder, evaluation: Evaluation) -> None:
    scores = evaluation.scores | {"loss": math.nan, "top1": 50.0}
    keep_evaluation(folder, replace(evaluation, scores=scores), step=20)
    kept = json.loads((folder.path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert kept["scores"]["loss"] is None
    found = read_evaluation(read_record(folder))
    assert found is not None
    assert math.isnan(found.scores["loss"])
    assert found.scores["top1"] == 50.0


def test_a_label_that_no_image_has_is_shown_again_without_a_number(folder: RunFolder, evaluation: Evaluation) -> None:
    rows = (
        {"label": "cat", "images": 9, "ap": 12.5, "f1": 40.0},
        {"label": "owl", "images": 0, "ap": math.nan, "f1": 0.0},
    )
    folder.write_json("model/config.json", folder.read_json("model/config.json") | {"task": "multilabel"})
    with (folder.path / "metrics.csv").open("w") as file:
        file.write("step,epoch,map,best\n20,2.0,50.0,True\n")
    keep_evaluation(folder, replace(evaluation, scores={"map": 50.0, "loss": 0.5}, per_class=rows), step=20)
    record = read_record(folder)
    assert record.damaged == ()
    page, card = write_page(record, found := read_evaluation(record), Charts()), write_card(record, found)
    assert "<td>owl" in page
    assert "50.00 %" in card


def test_that_of_weights_which_are_no_longer_the_best_is_not_given(folder: RunFolder, evaluation: Evaluation) -> None:
    keep_evaluation(folder, evaluation, step=20)
    with (folder.path / "metrics.csv").open("a") as file:
        file.write("40,4.0,0.1,0.2,99.0,99.5,1e-3,800.0,0.1,0.5,True\n")
    assert read_evaluation(read_record(folder)) is None


def test_a_run_that_was_never_judged_has_none(folder: RunFolder) -> None:
    assert read_evaluation(read_record(folder)) is None


def test_only_cells_with_images_are_kept() -> None:
    torch.manual_seed(0)
    matrix = torch.randint(0, 3, (50, 50)).double() * (torch.rand(50, 50) < 0.1)
    kept = to_cells(matrix)
    assert kept is not None
    assert len(kept["cells"]) == (matrix > 0).sum()
    torch.testing.assert_close(from_cells(kept), matrix)
    torch.testing.assert_close(from_cells({"classes": 2, "cells": []}), torch.zeros(2, 2).double())
