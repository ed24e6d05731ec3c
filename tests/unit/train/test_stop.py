"""Signals and the allowed time: real signals, an own clock."""

from __future__ import annotations

import signal
import time

import pytest

from vit_cli.errors import Stopped, UsageError
from vit_cli.train.stop import SIGNALS, StopFlag, read_time


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_signal_sets_the_flag_and_nothing_else(number: signal.Signals, exit_code: int) -> None:
    with StopFlag().listening() as stop, stop.saving():
        assert not stop.is_set
        signal.raise_signal(number)
        assert stop.is_set
        assert stop.is_set, "it stays set"
    assert stop.reason == f"stopped by {number.name}"
    assert stop.exit_code == exit_code


def test_a_second_signal_ends_at_once_with_the_code_of_the_first() -> None:
    with StopFlag().listening() as stop, stop.saving():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped, match="second signal") as caught:
            signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 130
    assert "intact" in caught.value.hint


def test_the_signals_are_given_back_even_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    free = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]

    def fail() -> None:
        with StopFlag().listening():
            assert not set(map(signal.getsignal, free)) & set(before)
            raise OSError

    with pytest.raises(OSError):
        fail()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_allowed_time_sets_the_flag_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop = StopFlag(seconds=5)
    now[0] = 104.9
    assert not stop.is_set
    now[0] = 105.0
    assert stop.is_set
    assert stop.reason == "the allowed time is over"
    now[0] = 0.0
    assert stop.is_set, "a decision to stop is not taken back"


def test_without_an_allowed_time_only_signals_stop() -> None:
    assert not StopFlag().is_set
    assert StopFlag(seconds=0).is_set


def test_a_signal_keeps_its_reason_when_the_time_is_over_too() -> None:
    with StopFlag(seconds=0).listening() as stop, stop.saving():
        signal.raise_signal(signal.SIGINT)
    assert stop.is_set
    assert stop.reason == "stopped by SIGINT"


def test_the_first_signal_never_ends_at_once_even_if_the_time_is_over() -> None:
    with StopFlag(seconds=0).listening() as stop, stop.saving():
        assert stop.is_set
        signal.raise_signal(signal.SIGTERM)
    assert stop.is_set


def test_a_signal_is_answered_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with StopFlag().listening() as stop, stop.saving():
        signal.raise_signal(signal.SIGINT)
    assert "saving after this step" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1d2h3m4s", 93_784), ("0s", 0)],
)
def test_a_time_is_read_in_seconds(text: str, seconds: float) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "1.5h", "-1h", "2 h", "2H", "2hours", "1h30", "9" * 5000 + "h"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is not understood") as caught:
        read_time(text)
    assert "1h30m" in caught.value.hint


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_training_there_is_nothing_to_save_and_a_signal_ends_it(number: signal.Signals, exit_code: int) -> None:
    with StopFlag().listening(), pytest.raises(Stopped, match="before the first step") as caught:
        signal.raise_signal(number)
    assert caught.value.exit_code == exit_code


def test_a_signal_breaks_off_what_is_gone_through_but_the_end_of_the_time_does_not() -> None:
    with StopFlag(seconds=0).listening() as stop, stop.saving():
        seen = []
        for item in stop.until_signalled(range(10)):
            seen.append(item)
            if item == 3:
                signal.raise_signal(signal.SIGTERM)
    assert seen == [0, 1, 2, 3]


def test_processes_that_must_keep_step_break_off_together() -> None:
    answers = iter([False, False, True])
    assert list(StopFlag().until_signalled(range(10), lambda _own: next(answers))) == [0, 1]


def test_a_signal_that_a_launcher_passes_on_is_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    with StopFlag().listening() as stop, stop.saving():
        signal.raise_signal(signal.SIGTERM)
        now[0] += 0.5
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set
        now[0] += 1.0
        with pytest.raises(Stopped, match="second signal"):
            signal.raise_signal(signal.SIGTERM)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopFlag().listening() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_set
    finally:
        signal.signal(signal.SIGHUP, before)
