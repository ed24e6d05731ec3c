"""The loop: every run of vit, on one process or many, goes through it."""

from __future__ import annotations

import math

import torch

from vit_cli.errors import TrainingError
from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.train.keep import beat, save
from vit_cli.train.progress import Row, Tick
from vit_cli.train.state import TrainState
from vit_cli.train.step import StepResult, take_step
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run


def run_loop(run: Run, state: TrainState, stop: StopFlag) -> None:
    """Train from `state.step` to the end of the plan, to the end of patience, or to the next step after a stop."""
    plan, clock, losses = run.plan, run.clock, list[StepResult]()
    if plan.evaluates_at(state.step) and state.judged_step < state.step:  # it was stopped before this evaluation
        judge(run, state)
        save(run, state)
    clock.restart()
    for batch in clock.waiting(run.batches(state.step)):
        losses.append(take_step(run, batch, state.step))
        state.step += 1
        clock.count(plan.batch_size)
        steps_left = plan.total_steps - state.step
        run.progress.tick(Tick(state.step, plan.total_steps, clock.images_per_second, clock.eta(steps_left)))
        stopping, found_bad = run.world.any(stop.is_set, bool(batch.bad))
        if found_bad:
            run.bad_images.record([bad for part in run.world.gather(batch.bad) for bad in part])
        evaluates = plan.evaluates_at(state.step) and (not stopping or steps_left == 0)
        if plan.logs_at(state.step) or plan.saves_at(state.step) or evaluates or stopping:
            read_losses(run, state, losses)
        is_best = evaluates and judge(run, state)
        state.finished = steps_left == 0 or is_out_of_patience(run, state)
        if plan.saves_at(state.step) or is_best or stopping or state.finished:
            save(run, state)
        if stopping or state.finished:
            break


def read_losses(run: Run, state: TrainState, results: list[StepResult]) -> None:
    """Read the losses since the last time from the device, stop if one is not finite, and write a line to steps.jsonl."""
    losses = run.world.mean(torch.stack([result.loss for result in results]).double()).tolist()
    grad_norm = results[-1].grad_norm.item()
    results.clear()
    if not all(map(math.isfinite, (*losses, grad_norm))):
        raise TrainingError(
            f"the loss or the gradient is not finite at step {state.step} (loss {losses[-1]}, gradient norm {grad_norm})",
            "The last checkpoint is from before it. A lower optim.lr, train.clip_norm=1.0 or train.precision=fp32 helps most.",
        )
    state.loss_total += sum(losses)
    state.loss_steps += len(losses)
    if run.plan.logs_at(state.step):
        run.journal.add_step(
            step=state.step,
            epoch=round(run.plan.epoch_at(state.step), 4),
            loss=losses[-1],
            lr=run.plan.lr_at(state.step - 1),
            grad_norm=grad_norm,
            images_per_second=round(run.clock.images_per_second, 2),
            wait=round(run.clock.wait, 4),
        )
        beat(run, state)


def judge(run: Run, state: TrainState) -> bool:
    """Evaluate, write the row, and tell whether this is the best so far."""
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
    state.judged_step, state.loss_total, state.loss_steps = state.step, 0.0, 0
    run.journal.add_row(row)
    run.progress.row(row)
    run.clock.restart()
    return is_best


def note_score(run: Run, state: TrainState, evaluation: Evaluation) -> bool:
    """Compare an evaluation with the best one, and with the last that renewed the patience; tell whether it is the best."""
    patience = run.recipe.train.early_stop
    watches_loss = patience is not None and patience.metric == "loss"
    score = -evaluation.scores["loss"] if watches_loss else evaluation.scores["top1"]
    if state.reference is None or score > state.reference + (patience.min_delta if patience else 0.0):
        state.reference, state.waited = score, 0
    else:
        state.waited += 1
    loss = evaluation.scores["loss"]
    is_best = math.isfinite(score) and (state.best is None or (score, -loss) > (state.best, -state.best_loss))
    if is_best:
        state.best, state.best_loss = score, loss
        state.best_step, state.best_top1 = state.step, evaluation.scores["top1"]
    return is_best


def is_out_of_patience(run: Run, state: TrainState) -> bool:
    """Tell whether early stopping ends the run here."""
    patience = run.recipe.train.early_stop
    return patience is not None and state.waited >= patience.patience
