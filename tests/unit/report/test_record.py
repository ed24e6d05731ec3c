"""Reading a run folder."""

from pathlib import Path

from vit_cli.report.record import read_metrics, read_record, read_steps
from vit_cli.train.folder import RunFolder


def test_a_record_knows_name_command_and_best_row(folder: RunFolder) -> None:
    record = read_record(folder)
    assert record.name == "pets & more"
    assert record.command == "vit train pets --out 'a <b>'"
    assert (record.best["step"], record.best["top1"]) == (20, 60.0)


def test_an_empty_folder_gives_an_empty_record(tmp_path: Path) -> None:
    record = read_record(RunFolder(tmp_path))
    assert (record.rows, record.best, record.class_names, record.command) == ([], {}, [], "")


def test_a_line_cut_short_by_a_crash_is_left_out(folder: RunFolder) -> None:
    for name in ("metrics.csv", "steps.jsonl"):
        path = folder.path / name
        path.write_text(path.read_text()[:-12])
    assert [row["step"] for row in read_metrics(folder.path / "metrics.csv")] == [10, 20]
    assert len(read_steps(folder.path / "steps.jsonl")) == 29
