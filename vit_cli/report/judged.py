"""evaluation.json: how the best weights were judged at the end, kept so that the report can be written again without data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vit_cli.checkpoint.commit import commit_json
from vit_cli.document import read_row
from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.report.record import Record
from vit_cli.train.folder import RunFolder

FILE = "evaluation.json"


def keep_evaluation(folder: RunFolder, evaluation: Evaluation, step: int) -> None:
    """Write down the evaluation of the weights of `step`, the best, without the answers to single images."""
    kept = {
        "step": step,
        "scores": evaluation.scores,
        "seconds": evaluation.seconds,
        "per_class": evaluation.per_class,
        "confusion": to_cells(evaluation.confusion),
        "calibration": None if evaluation.calibration is None else evaluation.calibration.tolist(),
    }
    commit_json(folder.path / FILE, kept)


def read_evaluation(record: Record) -> Evaluation | None:
    """Give what was written down, unless the run has found better weights since."""
    kept = record.evaluation
    if not kept or kept.get("step") != record.best_step:
        return None
    matrix = from_cells(kept["confusion"]) if kept.get("confusion") else None
    bins = kept.get("calibration")
    calibration = torch.tensor(bins, dtype=torch.float64) if bins else None
    rows = tuple(map(read_row, kept["per_class"]))
    return Evaluation(read_row(kept["scores"]), matrix, None, kept["seconds"], rows, calibration)


def to_cells(matrix: Tensor | None) -> dict[str, Any] | None:
    """Give the cells of a matrix (K, K) that are not zero: [row, column, count] each."""
    if matrix is None:
        return None
    counts = matrix.detach().cpu().long()
    places = counts.nonzero()
    return {"classes": len(counts), "cells": torch.cat([places, counts[counts > 0][:, None]], dim=1).tolist()}


def from_cells(kept: dict[str, Any]) -> Tensor:
    """Give the matrix (K, K) back."""
    matrix = torch.zeros(kept["classes"], kept["classes"], dtype=torch.float64)
    rows, columns, counts = torch.tensor(kept["cells"], dtype=torch.long).reshape(-1, 3).T
    matrix[rows, columns] = counts.double()
    return matrix
