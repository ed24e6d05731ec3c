"""Trackers beside the journal."""

from __future__ import annotations

import json
import math
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from vit_cli.errors import UsageError
from vit_cli.recipe.load import load_recipe
from vit_cli.track import tracker
from vit_cli.track.tracker import TrackedRun
from vit_cli.track.wandb import Wandb, has_key
from vit_cli.train import tracking
from vit_cli.train.folder import RunFolder
from vit_cli.train.tracking import NoTracking, Tracking, make_tracking

NAMES = ("tensorboard", "wandb", "mlflow", "trackio")
SCRIPT = """
import sys
from pathlib import Path
from vit_cli.recipe.load import load_recipe
from vit_cli.train.folder import RunFolder
from vit_cli.train.tracking import make_tracking

folder = RunFolder(Path(sys.argv[1]))
to = ", ".join("{name: %s}" % name for name in sys.argv[2:])
recipe = load_recipe("digits", ["track.to=[%s]" % to]).recipe
for begin, steps, loss in ((0, (1, 2, 3, 4), 1.0), (2, (3, 4, 5), 0.5)):
    made = make_tracking(recipe, folder, is_first=True, tell=lambda text: print(text, file=sys.stderr))
    made.begin(begin)
    for step in steps:
        made.add(step, {"loss": loss / step, "top1": 10.0 * step, "grad_norm": None})
    made.end(finished=begin > 0)
"""


@pytest.fixture
def quiet_line() -> Any:
    """A proxy that nobody calls: its address, and the calls that came all the same."""
    calls: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def listen() -> None:
            while not done.is_set():
                try:
                    call, _ = server.accept()
                except TimeoutError:
                    continue
                calls.append(call.recv(100))
                call.close()

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", calls
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked", [("tensorboard", "wandb"), pytest.param(("mlflow", "trackio"), marks=pytest.mark.long)], ids=", ".join
)
def test_every_tracker_has_the_rows_and_a_resumed_run_goes_on_in_it(
    tmp_path: Path, quiet_line: Any, asked: tuple[str, ...]
) -> None:
    there = [name for name in asked if find_spec(name)]
    if not there:
        pytest.skip(f'none is installed (pip install "vit-cli[{",".join(asked)}]")')
    run, home, (proxy, calls) = tmp_path / "2026-11-20_101502_run", tmp_path / "home", quiet_line
    run.mkdir()
    home.mkdir()
    proxies = {f"{kind}_proxy": proxy for kind in ("http", "https", "HTTP", "HTTPS")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, run, *there],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        env=environment | proxies | {"HOME": str(home), "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls == [], "nothing is sent anywhere"
    assert not [path for path in home.rglob("*") if path.is_file()], "nothing is written outside the run folder"
    known = json.loads((run / "track.json").read_text())
    assert set(known) == set(there)
    losses = [(1, 1.0), (2, 0.5), (3, 0.5 / 3), (4, 0.125), (5, 0.1)]
    for name in there:
        READERS[name](run, known[name], losses)


def read_tensorboard(run: Path, _: str, losses: list[tuple[int, float]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (step, pytest.approx(loss)) for step, loss in losses
    ]
    assert events.Tags()["scalars"] == ["loss", "top1"]


def read_wandb(run: Path, name: str, _: list[tuple[int, float]]) -> None:
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2 or len(list((run / "wandb").glob("offline-run-*"))) == 1
    assert {path.stem for path in files} == {f"run-{name}"}
    assert all(b"top1" in path.read_bytes() for path in files)


def read_mlflow(run: Path, name: str, losses: list[tuple[int, float]]) -> None:
    with sqlite3.connect(run / "mlflow.db") as base:
        rows = base.execute(
            "select step, value from metrics where key = 'loss' and run_uuid = ? order by step", (name,)
        )
        found = dict(rows.fetchall())
        assert base.execute("select status, name from runs").fetchall() == [("FINISHED", run.name)]
        assert base.execute("select value from params where key = 'optim.lr'").fetchall() == [("0.002",)]
    base.close()
    assert {step for step, _ in losses} == set(found)


def read_trackio(run: Path, _: str, losses: list[tuple[int, float]]) -> None:
    with sqlite3.connect(run / "trackio/vit.db") as base:
        rows = base.execute("select run_name, step, metrics from metrics").fetchall()
    base.close()
    assert {row[0] for row in rows} == {run.name}
    assert {row[1] for row in rows} == {step for step, _ in losses}
    assert (5, 0.1) in [(row[1], json.loads(row[2])["loss"]) for row in rows]


READERS = {"tensorboard": read_tensorboard, "wandb": read_wandb, "mlflow": read_mlflow, "trackio": read_trackio}


class Section:
    """A tracker that fails, or takes its time, at one of its calls."""

    name = "made_up"

    def __init__(self, fails_at: str = "", seconds: float = 0.0) -> None:
        self.fails_at, self.seconds = fails_at, seconds
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.ended: bool | None = None
        self.id = "1"

    def prepare(self, run: TrackedRun) -> None:
        """Need nothing."""

    def open(self, run: TrackedRun) -> Section:
        self.meet("open")
        return self

    def add(self, step: int, values: dict[str, float]) -> None:
        self.meet("add")
        self.rows.append((step, values))

    def end(self, finished: bool) -> None:
        self.meet("end")
        self.ended = finished

    def meet(self, call: str) -> None:
        time.sleep(self.seconds)
        if call == self.fails_at:
            raise RuntimeError("no https://me:hidden@host\nmore")


def follow(folder: Path, *sections: Section) -> tuple[Tracking, list[str]]:
    """Begin tracking with made-up trackers; give it with what it tells."""
    told: list[str] = []
    made = Tracking(sections, TrackedRun("run", folder, {}, 0, None), told.append)  # type: ignore[arg-type]
    made.begin(0)
    return made, told


@pytest.mark.parametrize("call", ["open", "add", "end"])
def test_a_tracker_that_fails_is_told_once_without_secrets_and_the_others_go_on(tmp_path: Path, call: str) -> None:
    good, bad = Section(), Section(fails_at=call)
    made, told = follow(tmp_path, bad, good)
    for step in range(1, 5):
        made.add(step, {"loss": 0.5})
        time.sleep(0.02)
    made.end(finished=True)
    assert told == ["track: made_up failed: RuntimeError: no https://***@host; the run goes on without it"]
    assert [step for step, _ in good.rows] == [1, 2, 3, 4]
    assert good.ended is True


def test_a_slow_tracker_slows_nothing_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "END_SECONDS", 0.05)
    monkeypatch.setattr(tracking, "MOST_WAITING", 3)
    made, told = follow(tmp_path, Section(seconds=0.5))
    begin = time.monotonic()
    for step in range(1, 10):
        made.add(step, {"loss": 0.5})
    assert time.monotonic() - begin < 0.2
    made.end(finished=True)
    assert told == ["track: made_up can't keep up; the run goes on without it"]


class Server(BaseHTTPRequestHandler):
    """Answers as an MLflow server does, as far as a run asks."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        info = {"run_id": "1", "run_uuid": "1", "experiment_id": "0", "status": "RUNNING", "run_name": "run"}
        said = {
            "experiment": {"experiment_id": "0", "name": "vit"},
            "run": {"info": info, "data": {}},
            "run_info": info,
        }
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.long
def test_a_tracking_server_leaves_stdout_to_results(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason='MLflow is not installed (pip install "vit-cli[mlflow]")')
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tracker = f"mlflow, uri: 'http://127.0.0.1:{server.server_port}'"
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, tmp_path, tracker], capture_output=True, text=True, timeout=100
        )
        server.shutdown()
        thread.join()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_finite_numbers_are_passed_on(tmp_path: Path) -> None:
    good = Section()
    made, _ = follow(tmp_path, good)
    made.add(1, {"loss": math.nan, "lr": 1e-3, "grad_norm": None, "best": True, "epoch": 1})
    made.end(finished=False)
    assert good.rows == [(1, {"lr": 1e-3, "epoch": 1.0})]
    assert good.ended is False


def test_without_trackers_and_beside_the_first_process_nothing_is_tracked(tmp_path: Path) -> None:
    plain = load_recipe("digits").recipe
    asked = load_recipe("digits", ["track.to=[{name: wandb, mode: online}]"]).recipe
    assert isinstance(make_tracking(plain, RunFolder(tmp_path), is_first=True, tell=print), NoTracking)
    assert isinstance(make_tracking(asked, RunFolder(tmp_path), is_first=False, tell=print), NoTracking)


def test_online_without_a_key_is_refused_and_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    run = TrackedRun("run", tmp_path, {}, 0, None)
    with pytest.raises(UsageError, match="online and there is no key") as caught:
        Wandb(mode="online").prepare(run)
    assert "mode: offline needs none" in caught.value.hint
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password hidden\n")
    assert has_key()


@pytest.mark.parametrize("name", NAMES)
def test_a_tracker_that_is_not_installed_names_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda module: None)
    monkeypatch.setenv("TRACKIO_DIR", "")
    recipe = load_recipe("digits", [f"track.to=[{{name: {name}}}]"]).recipe
    with pytest.raises(UsageError, match=f"track.to names {name}") as caught:
        make_tracking(recipe, RunFolder(tmp_path), is_first=True, tell=print)
    assert caught.value.hint == f'pip install "vit-cli[{name}]"'
