"""Parity: what counts as the same, and which images it is tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.export.test_graph import VIT, make_ready
from vit_cli.errors import CheckpointError, DataError
from vit_cli.export.parity import Pictures, choose_pictures, compare, count_same, spread

FILE = Path("model.onnx")


def make_pictures(count: int = 40) -> Pictures:
    return Pictures("noise", torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8))


def test_the_model_agrees_with_itself_and_the_first_image_goes_alone(tmp_path: Path) -> None:
    ready, sizes = make_ready(tmp_path / "ours", VIT), []

    def answer(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return ready.model(ready.prepare(images))

    parity = compare(ready, answer, make_pictures(), "torch")
    assert (parity.images, parity.difference, parity.agreement) == (40, 0.0, 100.0)
    assert sizes == [1, 32, 7]
    parity.check(FILE, tolerance=0.0)


@pytest.mark.parametrize("shift", [0.01, float("nan")])
def test_another_answer_to_a_single_image_is_found(shift: float, tmp_path: Path) -> None:
    ready = make_ready(tmp_path / "ours", VIT)

    def answer(images: torch.Tensor) -> torch.Tensor:
        logits = ready.model(ready.prepare(images))
        logits[0, 1] += shift if len(images) == 32 else 0
        return logits

    parity = compare(ready, answer, make_pictures(), "torch")
    assert parity.difference == pytest.approx(shift, rel=1e-4, nan_ok=True)
    with pytest.raises(CheckpointError, match=r"model\.onnx would not answer as the model does"):
        parity.check(FILE, tolerance=1e-4)


def test_answers_are_the_same_class_or_the_same_set_of_labels() -> None:
    ours, theirs = torch.tensor([[1.0, -2, 3], [1, 2, -3]]), torch.tensor([[2.0, 0.5, 3], [1, 2, -1]])
    assert count_same(ours, theirs, "classification") == 2
    assert count_same(ours, theirs, "multilabel") == 1


def test_images_are_spread_over_all_there_are() -> None:
    assert spread(10, 200).tolist() == list(range(10))
    chosen = spread(50_000, 200)
    assert (len(set(chosen.tolist())), chosen[0], chosen[-1]) == (200, 0, 49_999)
    assert np.ptp(np.diff(chosen)) <= 1


def test_a_model_that_tells_no_data_is_tried_on_digits_and_that_is_said(tmp_path: Path) -> None:
    ready = make_ready(tmp_path / "ours", VIT)
    pictures = choose_pictures(ready, None)
    assert (pictures.images.shape, pictures.images.dtype) == ((200, 3, 16, 16), torch.uint8)
    assert "digits of scikit-learn" in pictures.title


def test_data_that_is_gone_leaves_digits(tmp_path: Path) -> None:
    data = {"train": {"name": "folder", "root": str(tmp_path / "gone")}}
    pictures = choose_pictures(make_ready(tmp_path / "ours", VIT, data=data), None)
    assert "its own are not there" in pictures.title


def test_a_folder_of_any_images_will_do_but_not_one_of_none(tmp_path: Path) -> None:
    from PIL import Image

    ready = make_ready(tmp_path / "ours", VIT)
    folder = tmp_path / "photos/deep"
    folder.mkdir(parents=True)
    with pytest.raises(DataError):
        choose_pictures(ready, tmp_path / "photos")
    (folder / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"no image of .* can be read"):
        choose_pictures(ready, tmp_path / "photos")
    Image.new("RGB", (30, 20), (9, 8, 7)).save(folder / "a.png")
    pictures = choose_pictures(ready, tmp_path / "photos")
    assert pictures.images.tolist() == [[[[level] * 16] * 16 for level in (9, 8, 7)]]
