"""A saved model, ready to judge or to ask: nothing but its path is needed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from vit_cli.augment.preprocess import Preprocess, build_eval_transform, normalise
from vit_cli.checkpoint import Saved, open_model
from vit_cli.data.loader import EvalBatches
from vit_cli.data.open import open_evaluation, open_splits
from vit_cli.data.samples import Samples
from vit_cli.data.source import Source, source_from_path
from vit_cli.device import choose_precision
from vit_cli.dist import World
from vit_cli.errors import UsageError
from vit_cli.evaluate.evaluate import Answers, Evaluation, evaluate
from vit_cli.metrics.score import ScoreSheet
from vit_cli.models import Model
from vit_cli.models.adapt import load_weights, stretch_tables
from vit_cli.models.classifier import Classifier
from vit_cli.models.positions import Stretch
from vit_cli.recipe.plain import read_section
from vit_cli.recipe.schema import Data
from vit_cli.section import Grid, as_grid


@dataclass(frozen=True)
class Ready:
    """A model with its weights, at the resolution it is asked at, and how images are brought to it."""

    saved: Saved
    model: Classifier
    res: Grid
    preprocess: Preprocess
    changes: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.saved.class_names

    @property
    def transform(self) -> Callable[[Tensor], Tensor]:
        """What turns a decoded image (3, h, w) into one of the model's size, both uint8."""
        return build_eval_transform(self.preprocess, self.res)

    def prepare(self, images: Tensor) -> Tensor:
        """Turn uint8 images (b, 3, rows, columns) into the numbers the model takes."""
        return normalise(images, self.preprocess)


def get_ready(path: Path, world: World, res: int | tuple[int, int] | None = None) -> Ready:
    """Read the model at `path` (checkpoint, run folder, model folder); `res` stretches its positions for another size.

    Raises CheckpointError if there is no model or its weights do not fit, UsageError for a `res` that its patches do not divide.
    """
    saved = open_model(path)
    section = read_section(Model, saved.about["model"])
    source = section.position_grids()
    if res is not None:
        section = at_res(section, res)
    stretched = stretch_tables(saved.weights, source, section.position_grids(), Stretch())
    model = section.build(len(saved.class_names))
    load_weights(model, stretched.weights)
    preprocess = read_section(Preprocess, saved.about["preprocess"])
    return Ready(saved, model.to(world.device).eval(), as_grid(section.res), preprocess, tuple(stretched.changes))


def at_res(section: Model, res: int | tuple[int, int]) -> Model:
    """Give the model's section for another resolution; UsageError if its patches do not divide it."""
    try:
        return type(section).model_validate(section.model_dump() | {"res": res})
    except ValidationError as error:
        raise UsageError(f"--res {res}: {error.errors()[0]['ctx']['error']}") from error


def open_own_data(saved: Saved, split: str | None = None) -> Samples:
    """Open the images that the model's recipe names: to validate on, or with `split` "train" to learn from.

    What was held out from training is known to the checkpoint.
    """
    if not saved.about.get("data"):
        raise UsageError(
            f"{saved.path} does not say what data it was trained on", "Name a folder of images: --data DIR"
        )
    if split not in (None, "train", "val"):
        raise UsageError(
            f"--split {split}: a model's own data has the splits train and val", "Other data: --data DIR --split NAME"
        )
    data: Data = read_section(Data, saved.about["data"])
    splits = open_splits(data.train, data.val, data.hold_out, held=saved.about.get("held"), classes=saved.class_names)
    return splits.train if split == "train" else splits.val


def open_folder_data(path: Path, split: str | None, saved: Saved) -> Samples:
    """Open all images of any folder or file that `--data` can name, its classes matched by name with the model's.

    `split` names a subfolder, or how the names of parquet files begin; without it, validation images are preferred.
    """
    if split and any(path.glob(f"{split}*.parquet")):
        train, val = {"name": "hf", "path": f"{path}/{split}*.parquet"}, None
    else:
        train, val = source_from_path(path / split if split else path)
    return open_evaluation(read_section(Source, val or train), saved.class_names)


def evaluate_saved(ready: Ready, samples: Samples, world: World, batch_size: int = 64, workers: int = 0) -> Evaluation:
    """Judge a saved model on `samples`, each image once."""
    batches = EvalBatches(
        samples, ready.transform, batch_size=batch_size, rank=world.rank, size=world.size, workers=workers
    )
    sheet = ScoreSheet(len(ready.class_names))
    precision = choose_precision("auto", world.device)
    return evaluate(ready.model, batches, ready.prepare, sheet, world, precision, keep_answers=True)


def write_predictions(path: Path, answers: Answers, samples: Samples, names: tuple[str, ...]) -> None:
    """Write a CSV with a line per image, in the order of the data."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "prediction", "probability", "loss"])
        for index, label, predicted, confidence, loss in zip(
            answers.indices, answers.labels, answers.predicted, answers.confidence, answers.losses, strict=True
        ):
            writer.writerow(
                [samples.name(int(index)), names[label], names[predicted], repr(float(confidence)), repr(float(loss))]
            )
