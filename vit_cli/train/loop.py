"""The loop: every run of vit, on one process or many, goes through it."""

from __future__ import annotations

import math

import torch

from vit_cli.errors import TrainingError
from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.train.keep import save
from vit_cli.train.progress import Row, Tick
from vit_cli.train.state import TrainState
from vit_cli.train.step import StepResult, take_step
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run


def run_loop(run: Run, state: TrainState, stop: StopFlag) -> None:
    """Train from `state.step` to the end of the plan, to the end of patience, or to the next step after a stop."""
    plan, clock = run.plan, run.clock
    losses: list[torch.Tensor] = []
    for batch in clock.waiting(run.batches(state.step)):
        result = take_step(run, batch, state.step)
        state.step += 1
        losses.append(result.loss)
        clock.count(plan.batch_size)
        run.progress.tick(
            Tick(state.step, plan.total_steps, clock.images_per_second, clock.eta(plan.total_steps - state.step))
        )
        run.bad_images.record(batch.bad)
        stopping = run.world.agree(stop.is_set)
        evaluates = plan.evaluates_at(state.step) and not stopping
        if plan.logs_at(state.step) or evaluates or stopping:
            log_step(run, state, losses, result)
        if evaluates:
            judge(run, state)
        state.finished = state.step == plan.total_steps or is_out_of_patience(run, state)
        if plan.saves_at(state.step) or evaluates or stopping or state.finished:
            save(run, state)
        if stopping or state.finished:
            break


def log_step(run: Run, state: TrainState, losses: list[torch.Tensor], result: StepResult) -> None:
    """Read the losses since the last log from the device, stop if one is not finite, and write a line to steps.jsonl."""
    values = torch.stack([*losses, result.grad_norm]).double()
    values = run.world.sum(values) / run.world.size
    losses.clear()
    *recent, grad_norm = values.tolist()
    if not all(map(math.isfinite, (*recent, grad_norm))):
        raise TrainingError(
            f"the loss or the gradient is not finite at step {state.step} (loss {recent[-1]}, gradient norm {grad_norm})",
            "The last checkpoint is from before it. A lower optim.lr, train.clip_norm=1.0 or train.precision=fp32 helps most.",
        )
    state.loss_total += sum(recent)
    state.loss_steps += len(recent)
    run.journal.add_step(
        step=state.step,
        epoch=round(run.plan.epoch_at(state.step), 4),
        loss=recent[-1],
        lr=run.plan.lr_at(state.step - 1),
        grad_norm=grad_norm,
        images_per_second=round(run.clock.images_per_second, 2),
        wait=round(run.clock.wait, 4),
    )


def judge(run: Run, state: TrainState) -> None:
    """Evaluate, note whether this is the best so far, and write the row."""
    images_per_second, wait = run.clock.images_per_second, run.clock.wait
    with run.ema.swapped(run.model):
        evaluation = run.evaluate()
    is_best = note_score(run, state, evaluation)
    row = Row(
        step=state.step,
        epoch=round(run.plan.epoch_at(state.step), 4),
        epochs=run.plan.epoch_at(run.plan.total_steps),
        train_loss=state.loss_total / max(state.loss_steps, 1),
        val_loss=evaluation.scores["loss"],
        top1=evaluation.scores["top1"],
        top5=evaluation.scores["top5"],
        lr=run.plan.lr_at(state.step - 1),
        images_per_second=round(images_per_second, 2),
        wait=round(wait, 4),
        memory_gib=round(run.memory_gib(), 3),
        eta_seconds=round(run.clock.eta(run.plan.total_steps - state.step), 1),
        best=is_best,
    )
    state.loss_total, state.loss_steps = 0.0, 0
    run.journal.add_row(row)
    run.progress.row(row)
    run.clock.restart()


def note_score(run: Run, state: TrainState, evaluation: Evaluation) -> bool:
    """Compare an evaluation with the best one; tell whether it is better."""
    patience = run.recipe.train.early_stop
    watched = patience.metric if patience else "top1"
    score = evaluation.scores["top1"] if watched == "top1" else -evaluation.scores["loss"]
    needed = patience.min_delta if patience else 0.0
    state.waited = 0 if state.best is None or score > state.best + needed else state.waited + 1
    is_best = state.best is None or score > state.best
    if is_best:
        state.best, state.best_step, state.best_top1 = score, state.step, evaluation.scores["top1"]
    return is_best


def is_out_of_patience(run: Run, state: TrainState) -> bool:
    """Tell whether early stopping ends the run here."""
    patience = run.recipe.train.early_stop
    return patience is not None and state.waited >= patience.patience
