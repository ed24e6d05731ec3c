"""Listing runs."""

import json
import os
from pathlib import Path

import pytest

from vit_cli.errors import UsageError
from vit_cli.recipe.load import load_recipe, to_yaml
from vit_cli.report.runs import list_runs, name_model, read_time
from vit_cli.train.folder import RunFolder


def test_a_run_is_told_in_a_line(folder: RunFolder) -> None:
    (run,) = list_runs(folder.path.parent)
    told = (run.run, run.state, run.res, run.metric, run.score, run.epochs, run.seconds)
    assert told == (folder.path.name, "finished", "8x8", "top1", 60.0, 3.0, 131.2)
    assert run.bytes == sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())


def test_a_finished_run_of_a_study_has_the_scores_that_were_kept(tmp_path: Path) -> None:
    run = tmp_path / "0123456789abcdef"
    run.mkdir()
    (run / "resolved.yaml").write_text(to_yaml(load_recipe("digits_multilabel").recipe))
    scores = {"step": 40, "epoch": 2.0, "val_loss": 1.5, "map": 61.5}
    (run / "result.json").write_text(json.dumps({"scores": scores, "seconds": 4.5}))
    (found,) = list_runs(tmp_path)
    assert (found.state, found.metric, found.score) == ("finished", "map", 61.5)
    assert (found.epochs, found.seconds) == (2.0, 4.5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status.json", "{"),
        ("status.json", "[]"),
        ("metrics.csv", "step,epoch\nx"),
        ("metrics.csv", "epoch\n1.0\n"),
        ("resolved.yaml", "a: ["),
        ("model/config.json", '{"class_names": 3, "res": 7, "recipe": []}'),
    ],
)
def test_a_damaged_folder_is_listed_as_broken(tmp_path: Path, name: str, content: str) -> None:
    run = tmp_path / "run"
    for place in ("checkpoints", "model"):
        (run / place).mkdir(parents=True)
    (run / name).write_text(content)
    (found,) = list_runs(tmp_path)
    assert (found.run, found.state) == ("run", "broken")


def test_runs_stand_in_order_of_time_and_links_and_other_folders_are_no_runs(tmp_path: Path) -> None:
    for name, seconds in (("b", 2_000_000), ("a", 3_000_000), ("c", 1_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").touch()
        os.utime(tmp_path / name / "recipe.yaml", (seconds, seconds))
    (tmp_path / "latest").symlink_to(tmp_path / "a")
    (tmp_path / "photos").mkdir()
    assert [run.run for run in list_runs(tmp_path)] == ["c", "b", "a"]
    assert read_time(tmp_path / "photos") > read_time(tmp_path / "a")


def test_a_place_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        list_runs(tmp_path / "no")


def test_models_have_short_names() -> None:
    assert name_model({"name": "vit", "size": "small", "patch": 16}) == "vit small/16"
    assert name_model({"name": "vit", "size": None, "width": 64, "depth": 4, "patch": 4}) == "vit 64x4/4"
    assert name_model({"name": "resnet", "depth": 50}) == "resnet 50"
    assert name_model({}) is None
