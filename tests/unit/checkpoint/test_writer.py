"""Jobs in a thread: in order, one at a time, and no error is lost."""

from __future__ import annotations

import threading

import pytest

from vit_cli.checkpoint.writer import Writer
from vit_cli.errors import TrainingError


def fail() -> None:
    raise TrainingError("the disk is full")


def test_the_caller_goes_on_while_a_job_runs() -> None:
    writer, go_on, done = Writer(), threading.Event(), []
    writer.submit(lambda: done.append(go_on.wait(10)))
    assert done == []
    go_on.set()
    writer.wait()
    assert done == [True]


def test_jobs_run_one_after_the_other() -> None:
    writer, order = Writer(), []
    for number in range(20):
        writer.submit(lambda number=number: order.append(number))
    writer.wait()
    assert order == list(range(20))


@pytest.mark.parametrize("call", ["wait", "check", "submit"])
def test_an_error_comes_out_of_the_next_call_and_only_once(call: str) -> None:
    writer = Writer()
    writer.submit(fail)
    assert writer.thread is not None
    writer.thread.join()
    with pytest.raises(TrainingError, match="disk is full"):
        writer.submit(print) if call == "submit" else getattr(writer, call)()
    writer.check()
    writer.wait()


def test_a_writer_without_a_job_has_nothing_to_wait_for() -> None:
    writer = Writer()
    writer.check()
    writer.wait()
    assert writer.thread is None
    assert writer.error is None


def test_the_thread_does_not_keep_the_program_alive() -> None:
    writer, go_on = Writer(), threading.Event()
    writer.submit(go_on.wait)
    assert writer.thread is not None
    assert writer.thread.daemon
    go_on.set()
    writer.wait()
