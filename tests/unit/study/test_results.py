"""What is kept of a finished run of a study."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vit_cli.study.results import RESULT, read_result
from vit_cli.train.folder import RunFolder


def test_a_loss_that_is_no_number_is_one_that_is_not_finite_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json(RESULT, {"scores": {"val_loss": math.nan, "top1": 10.0}, "seconds": 1.0})
    found = read_result(folder)
    assert found is not None
    assert math.isnan(found["scores"]["val_loss"])
    assert found["scores"]["top1"] == 10.0


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", '{"scores": 3}'])
def test_a_result_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / RESULT).write_text(content)
    assert read_result(RunFolder(tmp_path)) is None
