"""The loop: every run of vit, on one process or many, goes through it."""

from __future__ import annotations

import math

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.train.advice import find_advice
from vit_cli.train.keep import save
from vit_cli.train.listen import Ear
from vit_cli.train.progress import Row, Tick
from vit_cli.train.state import TrainState
from vit_cli.train.step import rehearse
from vit_cli.train.stop import StopFlag
from vit_cli.train.wire import Run


def run_loop(run: Run, state: TrainState, stop: StopFlag) -> None:
    """Train from `state.step` to the end of the plan, to the end of patience, or to the next step after a stop."""
    plan, clock, ear = run.plan, run.clock, Ear(run, state)
    if is_due(run, state) and conclude(run, state, stop):  # it was stopped before this evaluation
        return
    rehearse(run)
    clock.restart()
    for batch in clock.waiting(run.input.batches(state.step)):
        ear.note(batch, run.take_step(run, batch, state.step, stop))
        state.step += 1
        clock.count(plan.batch_size, batch.seconds)
        steps_left = plan.total_steps - state.step
        run.progress.tick(Tick(state.step, plan.total_steps, clock.images_per_second, clock.eta(steps_left)))
        run.writer.check()
        pauses = plan.logs_at(state.step) or plan.saves_at(state.step) or plan.evaluates_at(state.step)
        stopping = ear.listen(all_of_it=pauses)
        if (pauses or stopping) and conclude(run, state, stop, stopping):
            break


def conclude(run: Run, state: TrainState, stop: StopFlag, stopping: bool = False) -> bool:
    """Do what is due after a step: judge and save; tell whether the run ends here, for now or for good."""
    is_best = is_due(run, state) and not stopping and judge(run, state, stop)
    is_judged = not is_due(run, state)
    state.finished = is_judged and (state.step == run.plan.total_steps or is_out_of_patience(run, state))
    ends = stopping or state.finished or not is_judged
    if run.plan.saves_at(state.step) or is_best or ends:
        save(run, state)
    return ends


def is_due(run: Run, state: TrainState) -> bool:
    """Tell whether the model is to be judged after this step, and has not been."""
    return state.judged_step < state.step and run.plan.evaluates_at(state.step)


def judge(run: Run, state: TrainState, stop: StopFlag) -> bool:
    """Evaluate, write the row, and tell whether this is the best so far; a stop meanwhile leaves it to be done again."""
    images_per_second, wait, took = run.clock.images_per_second, run.clock.wait, run.clock.interval
    with run.ema.swapped(run.model):
        evaluation = run.evaluate(stop)
    if run.world.any(stop.was_signalled):
        return False
    is_best = note_score(run, state, evaluation)
    row = Row(
        step=state.step,
        epoch=round(run.plan.epoch_at(state.step), 4),
        epochs=run.plan.epoch_at(run.plan.total_steps),
        train_loss=state.loss_total / max(state.loss_steps, 1),
        val_loss=evaluation.scores["loss"],
        scores={name: evaluation.scores[name] for name in run.task.shown},
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
    if advice := find_advice(run, took):
        run.progress.note(advice)
    run.clock.restart()
    return is_best


def note_score(run: Run, state: TrainState, evaluation: Evaluation) -> bool:
    """Compare an evaluation with the best one, and with the last that renewed the patience; tell whether it is the best."""
    patience = run.recipe.train.early_stop
    watches_loss = patience is not None and patience.metric == "loss"
    main = evaluation.scores[run.task.main]
    score = -evaluation.scores["loss"] if watches_loss else main
    least_gain = patience.min_delta if patience else 0.0
    if not math.isnan(score) if state.reference is None else score > state.reference + least_gain:
        state.reference, state.waited = score, 0
    else:
        state.waited += 1
    loss = evaluation.scores["loss"]
    is_best = math.isfinite(score) and (state.best is None or (score, -loss) > (state.best, -state.best_loss))
    if is_best:
        state.best, state.best_loss = score, loss
        state.best_step, state.best_score = state.step, main
    return is_best


def is_out_of_patience(run: Run, state: TrainState) -> bool:
    """Tell whether early stopping ends the run here."""
    patience = run.recipe.train.early_stop
    return patience is not None and state.waited >= patience.patience
