"""What changes while training goes into a checkpoint and comes back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from vit_cli.checkpoint.file import read_checkpoint, write_checkpoint
from vit_cli.train.state import TrainState


def test_a_state_comes_back_from_a_checkpoint_to_the_last_bit(tmp_path: Path) -> None:
    state = TrainState(
        step=7,
        best=0.1 + 0.2,
        best_loss=0.3,
        best_step=5,
        best_score=1 / 3,
        judged_step=6,
        reference=-0.3,
        waited=2,
        loss_total=1e-300,
        loss_steps=3,
        skipped=5,
        skipped_in_a_row=1,
        finished=True,
    )
    assert all(getattr(state, field.name) != field.default for field in fields(state)), "every field is tried"
    write_checkpoint(tmp_path / "a.pt", {"state": state.plain()})
    restored = TrainState()
    restored.restore(read_checkpoint(tmp_path / "a.pt")["state"])
    assert restored == state


def test_a_new_state_has_done_nothing() -> None:
    state = TrainState()
    restored = TrainState(step=9, best=1.0)
    restored.restore(state.plain())
    assert restored == state
    assert state.best is None
    assert not state.finished


def test_a_state_that_lacks_a_value_is_never_half_right() -> None:
    saved = {name: value for name, value in TrainState().plain().items() if name != "waited"}
    with pytest.raises(KeyError, match="waited"):
        TrainState().restore(saved)
