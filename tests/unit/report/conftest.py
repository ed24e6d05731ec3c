"""A run folder as training leaves it, with everything in it made up."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vit_cli.evaluate.evaluate import Answers, Evaluation
from vit_cli.report.sheets import Picture, See
from vit_cli.train.folder import RunFolder
from vit_cli.train.journal import Journal

NAMES = ["cat", "<script>alert(1)</script>", "猫 $5$ | note"]
RECIPE = {
    "model": {"name": "vit", "size": None, "width": 32, "patch": 4, "res": 8, "dropout": 0.0},
    "data": {"train": {"name": "folder", "root": "/data/a_b"}, "val": None},
    "augment": [{"name": "crop", "padding": 1}, {"name": "flip"}],
    "optim": {"name": "adamw", "lr": 0.001, "betas": [0.9, 0.999]},
    "train": {"epochs": 3, "compile": False},
}


def write_metrics(path: Path, epochs: int) -> None:
    """Write a row per epoch of ten steps; top-1 is 50, 60, 70, ... and ends with a fall to 55."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Journal(RunFolder(path.parent), ["top1", "top5"]).columns)
        for epoch in range(1, epochs + 1):
            top1 = 55.0 if epoch == epochs > 1 else 40.0 + 10 * epoch
            writer.writerow(
                [10 * epoch, float(epoch), 1 / epoch, 2 / epoch, top1, 90.0, 1e-3, 800.0, 0.1, 0.5, top1 != 55]
            )


def write_steps(path: Path, steps: int) -> None:
    """Write a line per step of ten to the epoch."""
    facts = {"loss": 1.0, "lr": 1e-3, "grad_norm": 2.0, "images_per_second": 800.0, "wait": 0.1}
    lines = (json.dumps({"step": step, "epoch": step / 10, **facts}) for step in range(1, steps + 1))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished run of three epochs over three classes."""
    made = RunFolder(tmp_path / "2026-11-20_101502_pets & more")
    made.model.mkdir(parents=True)
    made.write_text("recipe.yaml", "# vit train pets --out 'a <b>'\nseed: 0\n")
    made.write_text("resolved.yaml", "seed: 0  # <i>\n")
    made.write_json("plan.json", {"batch_size": 4, "total_steps": 30})
    made.write_json("env.json", {"vit": "0.1.0", "gpus": [], "packages": {"torch": "2.10"}, "git": None})
    made.write_json("status.json", {"status": "finished", "step": 30, "total_steps": 30})
    made.write_json("summary.json", {"best_top1": 60.0, "train_seconds": 131.2, "parameters": 1_203_210})
    about = {"class_names": NAMES, "res": [8, 8], "recipe": RECIPE, "data": RECIPE["data"], "model": RECIPE["model"]}
    made.write_json("model/config.json", about)
    write_metrics(made.path / "metrics.csv", epochs=3)
    write_steps(made.path / "steps.jsonl", steps=30)
    return made


@pytest.fixture
def evaluation() -> Evaluation:
    """Answers to twelve images: numbers 3 and 7 are wrong, 7 more than 3."""
    labels = np.arange(12) % 3
    predicted = labels.copy()
    predicted[[3, 7]] = [2, 0]
    losses = np.where(np.arange(12) == 7, 5.0, np.where(np.arange(12) == 3, 2.0, 0.1)).astype(np.float32)
    confusion = torch.zeros(3, 3, dtype=torch.float64)
    for true, said in zip(labels, predicted, strict=True):
        confusion[true, said] += 1
    answers = Answers(np.arange(100, 112), labels, predicted, np.full(12, 0.75, dtype=np.float32), losses)
    return Evaluation({"top1": 1000 / 12, "top5": 100.0, "loss": 0.25, "images": 12}, confusion, answers, 1.0)


@pytest.fixture
def see() -> See:
    """Image number i is a plain 8x8 square of brightness i."""
    return lambda index: Picture(torch.full((3, 8, 8), index, dtype=torch.uint8), f"cats & dogs/{index:03}.jpg")
