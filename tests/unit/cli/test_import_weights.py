"""What `vit import` says about weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vit_cli.cli.import_weights import DEFAULT, show_report

FACTS: dict[str, Any] = {
    "title": "torchvision's ConvNeXt",
    "model": {"name": "convnext"},
    "res": [224, 224],
    "parameters": 28_589_128,
    "gflops": 8.9,
    "classes": 3,
    "class_names": ["ant", "bee", "cow"],
    "preprocess": {"mean": [0.5], "std": [0.5], "crop": 0.9, "resize": "short", "interpolation": "bicubic"},
    "preprocess_from": "config.json",
    "changes": ["loaded  344 tensors", "dropped  a", "dropped  b"],
}


def shown(capsys: pytest.CaptureFixture[str], **facts: Any) -> list[str]:
    show_report(FACTS | facts, Path("out"))
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_a_model_as_it_is_by_default_ends_with_its_resolution(capsys: pytest.CaptureFixture[str]) -> None:
    assert any(line.endswith("convnext, 224x224 pixels") for line in shown(capsys))
    wide = {"name": "convnext", "res": 32, "width": 8}
    assert any(line.endswith("convnext, 32x32 pixels, width 8") for line in shown(capsys, model=wide, res=[32, 32]))


def test_preprocessing_that_no_config_tells_is_called_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert any("bicubic (a guess: the family's default" in line for line in shown(capsys, preprocess_from=DEFAULT))
    assert any("bicubic (config.json)" in line for line in shown(capsys))


@pytest.mark.parametrize(
    ("number", "names", "words"),
    [
        (0, None, "none: the weights have no head"),
        (3, None, "3, without names: --classes FILE gives them"),
        (3, ["ant", "bee", "cow"], "3: ant, bee, cow"),
        (5, list("abcde"), "5: a, b, c, d, ..."),
    ],
)
def test_classes_are_counted_and_named(
    capsys: pytest.CaptureFixture[str], number: int, names: list[str] | None, words: str
) -> None:
    assert any(line.endswith(words) for line in shown(capsys, classes=number, class_names=names))
