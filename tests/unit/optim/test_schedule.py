"""The schedules against their closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vit_cli.optim.schedule import Constant, Cosine, Linear, Rsqrt, Schedule

CURVES = [Cosine(), Cosine(final=0.1), Linear(), Linear(final=0.1), Rsqrt(timescale=10), Constant()]
Curve = Cosine | Linear | Rsqrt | Constant


def scales(curve: Curve, total: int, warmup: int = 0, cooldown: int = 0) -> list[float]:
    return [
        curve.scale_at(step, total_steps=total, warmup_steps=warmup, cooldown_steps=cooldown) for step in range(total)
    ]


@pytest.mark.parametrize("curve", CURVES, ids=repr)
def test_the_warm_up_is_a_straight_line_that_wastes_no_step(curve: Curve) -> None:
    assert scales(curve, 100, warmup=4)[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


@pytest.mark.parametrize("curve", CURVES, ids=repr)
def test_without_warm_up_the_first_update_is_at_the_peak(curve: Curve) -> None:
    assert scales(curve, 100)[0] == 1.0


def test_a_warm_up_can_start_above_zero() -> None:
    assert scales(Constant(warmup_from=0.2), 10, warmup=4)[:5] == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("step", range(0, 90, 9))
def test_cosine_equals_its_formula(step: int) -> None:
    expected = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 90))
    assert scales(Cosine(final=0.1), 100, warmup=10)[10 + step] == pytest.approx(expected)


def test_cosine_is_halfway_in_the_middle() -> None:
    assert scales(Cosine(), 110, warmup=10)[60] == pytest.approx(0.5)


def test_linear_falls_by_the_same_amount_every_step() -> None:
    assert scales(Linear(final=0.5), 5) == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6])


@pytest.mark.parametrize("curve", [Cosine(), Linear()], ids=repr)
def test_the_last_update_is_near_the_end_but_still_moves(curve: Curve) -> None:
    assert 0 < scales(curve, 1000)[-1] < 1.001 / 1000
    assert curve.scale_at(1000, total_steps=1000, warmup_steps=0, cooldown_steps=0) == 0


def test_rsqrt_halves_after_three_timescales() -> None:
    found = scales(Rsqrt(timescale=10), 200, warmup=20)
    assert found[20 + 30] == pytest.approx(1 / 2)
    assert found[20 + 150] == pytest.approx(1 / 4)


def test_a_cooldown_takes_the_curve_to_zero() -> None:
    plain, cooled = scales(Rsqrt(timescale=10), 50), scales(Rsqrt(timescale=10), 50, cooldown=4)
    assert cooled[:47] == plain[:47]
    assert [two / one for one, two in zip(plain[46:], cooled[46:], strict=True)] == pytest.approx([1, 0.75, 0.5, 0.25])


@given(
    curve=st.sampled_from(CURVES),
    total=st.integers(1, 60),
    warmup=st.integers(0, 60),
    cooldown=st.integers(0, 60),
    warmup_from=st.floats(0, 1),
)
def test_every_update_has_a_rate_above_zero_and_at_most_the_peak(
    curve: Curve, total: int, warmup: int, cooldown: int, warmup_from: float
) -> None:
    curve = curve.model_copy(update={"warmup_from": warmup_from})
    assert all(0 < scale <= 1 for scale in scales(curve, total, min(warmup, total), min(cooldown, total)))


def test_a_recipe_names_the_schedule() -> None:
    section = TypeAdapter(Schedule).validate_python({"name": "rsqrt", "warmup": "5 epochs", "cooldown": "20%"})
    assert isinstance(section, Rsqrt)
    assert section.warmup.steps(10.0, 200) == 50
    assert section.cooldown.steps(10.0, 200) == 40


@pytest.mark.parametrize(
    "bad", [{"name": "cosine", "final": 1.1}, {"name": "rsqrt", "timescale": 0}, {"name": "stair"}]
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Schedule).validate_python(bad)
