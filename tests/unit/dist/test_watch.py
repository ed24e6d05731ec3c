"""Signs of life through a real store, with time that passes quickly."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch.distributed as dist

from vit_cli.dist.watch import Unwatched, Watch
from vit_cli.errors import VitError


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dist.Store:
    monkeypatch.setenv("VIT_SILENCE_SECONDS", "0.5")
    return dist.HashStore()


def wait_until(claim: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_silent_process_is_named(store: dist.Store) -> None:
    first, ends = Watch(store, 0, 3), list[VitError]()
    Watch(store, 1, 3)
    second = Watch(store, 2, 3)
    with first.on(ends.append, print, print), second.on(lambda _error: None, print, print):
        wait_until(lambda: ends)
    assert "process 1 gave no sign of life" in ends[0].problem
    assert ends[0].exit_code == 5


def test_processes_that_live_are_left_alone(store: dist.Store) -> None:
    ends = list[VitError]()
    watches = [Watch(store, rank, 2) for rank in range(2)]
    with watches[0].on(ends.append, print, print), watches[1].on(ends.append, print, print):
        time.sleep(1.5)
    assert ends == []


def test_the_first_process_shows_what_another_says_once(store: dist.Store) -> None:
    notes = list[str]()
    first, second = Watch(store, 0, 2), Watch(store, 1, 2)
    with first.on(lambda _error: None, notes.append, print), second.on(lambda _error: None, print, print):
        second.say("has waited 60 s for images")
        wait_until(lambda: notes)
        time.sleep(0.4)
    assert notes == ["process 1 has waited 60 s for images"]


def test_a_process_whose_launcher_is_gone_stops_as_if_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIT_SILENCE_SECONDS", "1")
    server = dist.TCPStore("127.0.0.1", 0, 1, is_master=True, timeout=timedelta(seconds=5))
    client = dist.TCPStore("127.0.0.1", server.port, is_master=False, timeout=timedelta(seconds=5))
    asked, ends = list[str](), list[VitError]()
    with Watch(client, 0, 1).on(ends.append, print, asked.append):
        del server
        wait_until(lambda: ends, 30)
    assert asked == ["the launcher or the first process is gone"], "first it may save"
    assert "gone" in ends[0].problem, "and if it does not end, it is ended"


def test_a_process_alone_shows_its_own_words_while_it_runs() -> None:
    notes = list[str]()
    alone = Unwatched()
    alone.say("too early")
    with alone.on(lambda _error: None, notes.append, print):
        alone.say("has waited")
    alone.say("too late")
    assert notes == ["process 0 has waited"]
