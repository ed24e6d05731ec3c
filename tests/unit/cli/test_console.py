"""The console: what goes where, on a terminal and elsewhere."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, suppress
from threading import Thread

import pytest

from vit_cli.cli import console
from vit_cli.cli.console import make_progress, show_error, show_json, show_result, show_table, write
from vit_cli.errors import Stopped, VitError
from vit_cli.train.progress import Row, Silence, Tick

ROW = Row(12, 1.0, 30.0, 2.3012, 2.1034, {"top1": 24.12, "top5": 71.8}, 1e-3, 8123, 0.02, 3.1, 724, best=True)


class Terminal:
    """A real pseudo-terminal; `shown` hangs up and tells what arrived on its other side."""

    def __init__(self) -> None:
        self.reading, writing = os.openpty()
        self.stream = os.fdopen(writing, "w", encoding="utf-8")
        self.heard = bytearray()
        self.thread = Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self) -> None:
        with suppress(OSError):  # the other side hung up
            while part := os.read(self.reading, 4096):
                self.heard += part

    def shown(self) -> str:
        self.stream.close()
        self.thread.join(timeout=10)
        os.close(self.reading)
        return self.heard.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def watch(rows: list[Row]) -> None:
    """Let a watcher see a small run."""
    progress = make_progress(quiet=False, verbose=False)
    progress.header({"model": "vit", "run": "runs/\x1b[31mx"})
    progress.tick(Tick(1, 100, 8123.0, 60.0))
    for row in rows:
        progress.row(row)
    progress.end()


def test_a_pipe_gets_plain_lines_on_stderr_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    watch([ROW, ROW._replace(best=False)])
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert "\x1b" not in err
    assert [line.split()[:1] for line in err.splitlines()] == [["model"], ["run"], [], ["epoch"], ["1/30"], ["1/30"]]


def test_heartbeats_come_when_nothing_was_shown_for_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress = make_progress(quiet=False, verbose=False)
    for second in range(31):
        now[0] = float(second)
        progress.tick(Tick(second, 60, 100.0, 60.0 - second))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        " 17%  step 10/60  100 img/s  eta 50s",
        " 33%  step 20/60  100 img/s  eta 40s",
        " 50%  step 30/60  100 img/s  eta 30s",
    ]


def test_quiet_shows_nothing() -> None:
    assert isinstance(make_progress(quiet=True, verbose=True), Silence)


def test_a_terminal_gets_a_bar_that_is_gone_in_the_end(terminal: Terminal) -> None:
    with redirect_stderr(terminal.stream):
        watch([ROW])
    shown = terminal.shown()
    assert "step 1/100" in shown
    assert "\x1b[32m" in shown
    assert "runs/x" in shown
    assert shown.index("\x1b[?25l") < shown.rindex("\x1b[?25h")
    assert shown.endswith("\x1b[2K")


def test_no_color_means_no_colours(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stderr(terminal.stream):
        watch([ROW])
    shown = terminal.shown()
    assert "best" in shown
    assert "\x1b[3" not in shown
    assert "\x1b[9" not in shown


def test_a_dumb_terminal_and_verbose_get_plain_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    with redirect_stderr(terminal.stream):
        make_progress(quiet=False, verbose=True).note("hello")
    monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(terminal.stream):
        watch([ROW])
    shown = terminal.shown()
    assert shown[8:].startswith("  hello")
    assert "\x1b" not in shown


def test_errors_are_plain_words_with_a_hint_below(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(VitError("bad \x1b[2Jname.jpg\n  my.yaml:7  [red]x[/]", "first\nsecond"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Error: bad name.jpg\n  my.yaml:7  [red]x[/]\n  first\n  second\n"


def test_a_stop_that_was_asked_for_is_not_called_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(Stopped("stopped by SIGTERM at step 7", "Go on with: vit resume", exit_code=143))
    assert capsys.readouterr().err == "Stopped by SIGTERM at step 7\n  Go on with: vit resume\n"


def test_errors_keep_their_brackets_on_a_terminal(terminal: Terminal) -> None:
    with redirect_stderr(terminal.stream):
        show_error(VitError("res [224, 200]", "write [224, 208]"))
    assert "res [224, 200]\r\n  write [224, 208]" in terminal.shown()


def test_results_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    show_result("top1 \x1b[31m97.5")
    show_table(["a", "b"], [["x", 1]])
    assert capsys.readouterr() == ("top1 97.5\na  b\nx  1\n", "")


def test_json_is_one_document_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"loss": float("nan"), "all": [1.5, float("inf")], "name": "猫"})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "all": [1.5, None], "name": "猫"}
    show_json({"a": 1}, line=True)
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_json_has_no_command_for_a_terminal_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x9b31m\x7f\u202egpj.\x1b[2Jé"
    show_json({"name": name})
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": name}
    assert not set(out) & set("\x9b\x7f\u202e\x1b")


def test_csv_commands_no_terminal_and_goes_into_a_file_as_it_is(terminal: Terminal) -> None:
    file = io.StringIO()
    for stream in (terminal.stream, file):
        write(stream, "a\x1b[2Jb,1\n")
    assert terminal.shown() == "ab,1\r\n"
    assert file.getvalue() == "a\x1b[2Jb,1\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_odd_file_names_survive_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    name = "猫\udcff.jpg"
    show_json({"path": name}, line=True)
    show_result(name)
    first, second = stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert json.loads(first) == {"path": name}
    assert second.endswith("\\udcff.jpg")


def test_the_console_loads_neither_torch_nor_rich() -> None:
    code = (
        "import sys, vit_cli.cli.console, vit_cli.cli.env; print(*{'torch', 'rich', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() in ([], ["rich"])
