"""Exports for runtimes: where they go, what does not go together, and that nothing half-made stays."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.unit.export.test_timm import VIT, write
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.export.deploy import Wishes, aside, choose_file, deploy_model
from vit_cli.export.write import choose_folder


def test_files_get_their_names_together_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "out/model.onnx"
    with pytest.raises(IsADirectoryError), aside(file) as folder:  # noqa: PT012
        (folder / "model.onnx").mkdir()
        (folder / "model.onnx.data").write_text("half")
        (folder / "model.onnx").write_text("no file")
    assert list(file.parent.iterdir()) == []
    with aside(file) as folder:
        (folder / "inner").mkdir()
        for name in ("model.onnx", "model.onnx.data", "inner/scrap"):
            (folder / name).write_text(name)
        assert not file.exists()
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert file.read_text() == "model.onnx"


def test_an_export_goes_into_the_run_or_where_one_works(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run / "model", VIT)
    (run / "resolved.yaml").touch()
    assert choose_file(run, "onnx", Wishes()) == run / "export/model.onnx"
    assert choose_file(run / "checkpoints/best.pt", "onnx", Wishes(int8=True)) == run / "export/model.int8.onnx"
    assert choose_file(tmp_path / "weights.npz", "pt2", Wishes()) == Path("weights.pt2").absolute()
    (tmp_path / "mine.onnx").write_text("mine")
    with pytest.raises(UsageError, match="already there"):
        choose_file(run, "onnx", Wishes(out=tmp_path / "mine.onnx"))
    assert choose_file(run, "onnx", Wishes(out=tmp_path / "mine.onnx", overwrite=True)) == tmp_path / "mine.onnx"
    with pytest.raises(UsageError, match="is a folder"):
        choose_file(run, "onnx", Wishes(out=tmp_path))
    with pytest.raises(UsageError, match=r"mine\.onnx/a/model\.onnx can't be written: .*mine\.onnx is a file"):
        choose_file(run, "onnx", Wishes(out=tmp_path / "mine.onnx/a/model.onnx"))
    with pytest.raises(UsageError, match="is the folder of a run"):
        choose_folder(run, overwrite=True)
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        choose_file(run, "onnx", Wishes(out=tmp_path / "model.pt2"))


def test_what_does_not_go_together_or_is_missing_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "ours", VIT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--int8 is for --format onnx"):
        deploy_model(source, "pt2", Wishes(int8=True))
    with pytest.raises(UsageError, match="labelled images"):
        deploy_model(source, "onnx", Wishes(int8=True))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match="needs onnxscript, which is not installed") as told:
        deploy_model(source, "onnx", Wishes())
    assert told.value.hint == 'pip install "vit-cli[onnx]"'
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_a_model_without_head_has_nothing_to_deploy(tmp_path: Path) -> None:
    config = write(tmp_path / "ours", VIT) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"class_names": []}))
    with pytest.raises(CheckpointError, match="no head"):
        deploy_model(tmp_path / "ours", "onnx", Wishes())
