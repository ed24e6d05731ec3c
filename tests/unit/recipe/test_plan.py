"""What a recipe works out to."""

from __future__ import annotations

import itertools
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_cli.errors import RecipeError
from vit_cli.recipe.load import load_recipe
from vit_cli.recipe.plan import Plan, make_plan


def plan_of(*changes: str, images: int = 1000, processes: int = 1) -> Plan:
    return make_plan(load_recipe("smoke", changes).recipe, images, processes)


def test_better_vit_takes_the_112603_steps_of_big_vision() -> None:
    plan = make_plan(load_recipe("imagenet_vit_s16").recipe, images=1_281_167, processes=8)
    assert (plan.total_steps, plan.warmup_steps, plan.process_batch) == (112_603, 10_000, 128)


def test_durations_of_every_unit_become_steps() -> None:
    plan = plan_of(
        "train={epochs: 3, batch_size: 64}", "schedule.warmup=0.5 epochs", "schedule.cooldown=10%", "mix.until=40 steps"
    )
    assert plan.steps_per_epoch == 15.625
    assert (plan.total_steps, plan.warmup_steps, plan.cooldown_steps, plan.mix_until_step) == (47, 8, 5, 40)
    assert plan_of().mix_until_step == 20


def test_phases_cover_the_run_and_all_is_seen_after_them() -> None:
    plan = plan_of("train.phases=[{until: 3 steps, res: 16}, {until: 50%, res: [16, 32], drop_tokens: 0.5}]")
    assert [tuple(phase.model_dump().values()) for phase in plan.phases] == [
        (3, 16, 0.0),
        (10, (16, 32), 0.5),
        (20, 224, 0.0),
    ]
    found = [plan.phases.index(plan.phase_at(step)) for step in range(20)]
    assert found == [0] * 3 + [1] * 7 + [2] * 10
    assert [phase.until_step for phase in plan_of().phases] == [20]
    assert [phase.until_step for phase in plan_of("train.phases=[{until: 100%, drop_tokens: 0.5}]").phases] == [20]


def test_the_plan_outlives_json() -> None:
    phase = "train.phases=[{until: 50%, res: [16, 32], drop_tokens: 0.5}]"
    plan = plan_of("train.ema={decay: 0.9}", "eval.every=0.1 epochs", phase)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 500), batch=st.integers(1, 500), tenths=st.integers(1, 30))
def test_evaluation_k_comes_after_the_step_in_which_its_epoch_ends(images: int, batch: int, tenths: int) -> None:
    plan = plan_of().model_copy(update={"images": images, "batch_size": batch, "total_steps": 300})
    plan = plan.model_copy(update={"eval_every": type(plan.eval_every)(f"{tenths / 10} epochs")})
    expected = {-(-k * tenths * images // (10 * batch)) for k in range(1, 300 * 10 * batch // (tenths * images) + 1)}
    assert {step for step in range(1, 300) if plan.evaluates_at(step)} == {step for step in expected if step < 300}
    assert plan.evaluates_at(300)


def test_epochs_never_drift_over_a_long_run() -> None:
    plan = plan_of("train={epochs: 1000, batch_size: 96}", "eval.every=1 epoch")
    steps = [step for step in range(1, plan.total_steps + 1) if plan.evaluates_at(step)]
    assert steps == [ceil(k * 1000 / 96) for k in range(1, 1001)]
    assert plan.epoch_at(plan.total_steps) == pytest.approx(1000, abs=0.1)


def test_saving_and_logging_keep_their_own_times() -> None:
    plan = plan_of("save.every=8 steps", "track.log_every=25%")
    steps = range(1, 21)
    assert [step for step in steps if plan.saves_at(step)] == [8, 16, 20]
    assert [step for step in steps if plan.logs_at(step)] == [1, 5, 10, 15, 20]


def test_the_learning_rate_is_the_peak_times_the_schedule() -> None:
    plan = plan_of("optim.lr=0.5", "schedule.warmup=5 steps")
    rates = [plan.lr_at(step) for step in range(20)]
    assert max(rates) == rates[4] == 0.5
    assert all(later < sooner for sooner, later in itertools.pairwise(rates[5:]))


@pytest.mark.parametrize(
    ("changes", "images", "processes", "words"),
    [
        (["train.batch_size=512"], 100, 1, "512 is more than the 100 training images"),
        (["train.batch_size=100"], 1000, 3, "100 can't be divided among 3 processes; the nearest are 99 and 102"),
        (["train.batch_size=100"], 101, 3, "100 can't be divided among 3 processes; the nearest is 99"),
        (["train.batch_size=2"], 1000, 3, "2 can't be divided among 3 processes; the nearest is 3"),
        (["train.batch_size=2"], 2, 3, "no other number fits either"),
        (["train.batch_size=6", "mix.mixup=0.2"], 1000, 2, "groups in which images are mixed; the nearest are 4 and 8"),
        (["train.batch_size=16", "train.micro_batch=3", "mix.mixup=0.2"], 1000, 1, "3 is not a multiple of 2"),
        (["train.batch_size=15", "train.micro_batch=4", "mix.mixup=0.2"], 1000, 1, "the nearest are 3 and 6"),
        (["train.batch_size=7", "train.micro_batch=4", "mix.mixup=0.2"], 1000, 1, "the nearest is 7"),
        (["schedule.warmup=1 epoch"], 1000, 1, "63 steps of warm-up do not fit into the run of 20 steps"),
        (["schedule.warmup=11 steps", "schedule.cooldown=10 steps"], 1000, 1, "and 10 of cooldown do not fit"),
        (["train.phases=[{until: 1 epoch}]"], 1000, 1, "phases.0.until: 1 epoch are 63 steps, more than the run of 20"),
        (["train.phases=[{until: 50%}, {until: 9 steps}]"], 1000, 1, "9 steps is step 9, and the phase begins at step 10"),
        (["mix.until=1 epoch"], 1000, 1, "mix.until: 1 epoch are 63 steps, more than the run of 20 steps"),
    ],
)  # fmt: skip
def test_what_does_not_work_out_is_refused_with_the_nearest_that_does(
    changes: list[str], images: int, processes: int, words: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        plan_of(*changes, images=images, processes=processes)
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("batch", "processes", "micro", "parts"),
    [(16, 1, "null", (16, 16, 1)), (16, 2, "null", (8, 8, 1)), (16, 2, "3", (8, 3, 3)), (7, 1, "2", (7, 2, 4))],
)  # fmt: skip
def test_a_batch_is_split_over_processes_and_micro_batches(
    batch: int, processes: int, micro: str, parts: tuple[int, int, int]
) -> None:
    plan = plan_of(f"train.batch_size={batch}", f"train.micro_batch={micro}", processes=processes)
    assert (plan.process_batch, plan.micro_batch, plan.micro_batches) == parts
    assert plan.mix_group == 1


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(batch=st.integers(2, 64), processes=st.integers(1, 8), micro=st.none() | st.integers(1, 64))
def test_groups_of_mixed_images_are_never_cut(batch: int, processes: int, micro: int | None) -> None:
    recipe = load_recipe("smoke", ["mix.mixup=0.2"]).recipe
    train = recipe.train.model_copy(update={"batch_size": batch, "micro_batch": micro})
    try:
        plan = make_plan(recipe.model_copy(update={"train": train}), 1000, processes)
    except RecipeError:
        assert processes > 1 or micro is not None  # one process mixes batches of any size
        return
    assert plan.process_batch * processes == batch
    assert plan.mix_group > 1
    assert plan.process_batch % plan.mix_group == plan.micro_batch % plan.mix_group == 0
