"""Several studies, round by round, until nothing of them is left to be done, here or by other processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from vit_cli.errors import Stopped
from vit_cli.study.course import Course
from vit_cli.train.course import Options
from vit_cli.train.stop import StopFlag

LOOK_AGAIN_SECONDS = 2.0
"""Until it is asked again whether other processes have finished the runs that are left."""


class Turn(Protocol):
    """What `take_turns` goes round: a study with those who hear of it."""

    @property
    def course(self) -> Course:
        """Its runs."""

    def go_round(self) -> bool:
        """Do what no other process has; tell whether any run ended."""


def take_turns(turns: Sequence[Turn], options: Options, say: Callable[[str], None]) -> None:
    """Go round all studies until nothing is left; runs of other processes are waited for after all that can be done here.

    Raises Stopped after a signal, wherever it comes.
    """
    stop = StopFlag(options.seconds, options.end)
    try:
        with stop.listening():
            turn_until_done(turns, stop, say)
    except Stopped as error:
        if stop.reason:
            error.problem = f"{stop.reason} while no run was under way"
        error.hint = "Finished runs stay. The same command goes on from here."
        raise


def turn_until_done(turns: Sequence[Turn], stop: StopFlag, say: Callable[[str], None]) -> None:
    """Go round, and wait a little whenever no run has ended."""
    said = ""
    while turns:
        if stop.was_signalled:  # where a library caught what the signal raised
            raise Stopped(stop.reason, exit_code=stop.exit_code)
        moved = [turn.go_round() for turn in turns]
        turns = [turn for turn in turns if turn.course.waiting]
        if turns and not any(moved):
            said = tell_owner(turns, said, say)
            time.sleep(LOOK_AGAIN_SECONDS)


def tell_owner(turns: Sequence[Turn], said: str, say: Callable[[str], None]) -> str:
    """Say which process is waited for, unless that was `said` just before; give what is known by then."""
    count = len({job.digest for turn in turns for job in turn.course.waiting})
    elsewhere = turns[0].course.elsewhere
    if elsewhere != said:
        say(f"waiting for other processes, {count} run{'s' if count > 1 else ''} left: {elsewhere}")
    return elsewhere
