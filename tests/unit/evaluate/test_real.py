"""ReaL's labels against the code of its README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vit_cli.data.imagenet import imagenet_names
from vit_cli.data.samples import Files, PackedNames, Samples
from vit_cli.errors import DataError, UsageError
from vit_cli.evaluate.evaluate import Answers
from vit_cli.evaluate.real import IMAGES, open_real, read_labels, score_real

pytestmark = pytest.mark.slow

DRAWS = np.random.default_rng(0)
LABELS = [sorted({int(k) for k in DRAWS.integers(0, 1000, size)}) for size in DRAWS.integers(0, 4, IMAGES)]
ORDER = DRAWS.permutation(IMAGES)
"""Class folders bring the images in another order than that of their names."""


def images(order: Any = ORDER, form: str = "n{0:02}/ILSVRC2012_val_{1:08}.JPEG") -> Samples:
    names = [form.format(place % 7, place + 1).encode() for place in order]
    return Files("/data", PackedNames(names), np.zeros(len(names), np.int64), imagenet_names())


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_score_is_that_of_the_readme(tmp_path: Path) -> None:
    real = open_real(write(tmp_path / "real.json", LABELS), images(), imagenet_names())
    predictions = [labels[0] if labels and place % 3 else 7 for place, labels in enumerate(LABELS)]  # by file name
    is_correct = [pred in LABELS[i] for i, pred in enumerate(predictions) if LABELS[i]]
    own = np.array(predictions)[ORDER]
    nothing = np.zeros(IMAGES, np.float32)
    score = score_real(Answers(np.arange(IMAGES), nothing, own, nothing, nothing), real)
    assert score.accuracy == pytest.approx(100 * np.mean(is_correct), abs=1e-9)
    assert score.images == len(is_correct) == sum(map(bool, LABELS))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (LABELS[:-1], "49,999 entries"),
        ({"a": 1}, "no list"),
        ([*LABELS[:-1], [1000]], "entry 49999"),
        ([*LABELS[:-1], [True]], "entry 49999"),
        ([*LABELS[:-1], 3], "entry 49999"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_labels(write(tmp_path / "real.json", content))


def test_a_file_that_is_absent_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_labels(tmp_path / "absent.json")
    (tmp_path / "real.json").write_bytes(b"\xff\xd8 a picture")
    with pytest.raises(UsageError, match="no JSON"):
        read_labels(tmp_path / "real.json")


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (images(range(100)), "here are 100"),
        (images(form="{0}/{1}.jpg"), "is another"),
        (images([0, *range(IMAGES - 1)]), "there twice"),
    ],
    ids=["few", "other names", "one twice"],
)
def test_other_images_are_refused(tmp_path: Path, samples: Samples, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_real(write(tmp_path / "real.json", LABELS), samples, imagenet_names())


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other classes"):
        open_real(tmp_path / "real.json", images(range(1)), imagenet_names()[::-1])
