"""What a recipe works out to for so much data and so many processes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil

from vit_cli.augment.mix import mix_group
from vit_cli.errors import RecipeError
from vit_cli.optim.schedule import Schedule
from vit_cli.recipe.check import mixes
from vit_cli.recipe.schema import Recipe
from vit_cli.section import Duration, Res, Section


class PlannedPhase(Section):
    """What training sees of its images until step `until_step`: their resolution, and without which share of patches."""

    until_step: int
    res: Res
    drop_tokens: float


class Plan(Section):
    """Every derived number of a run; `step` counts finished steps, so the next update has that number too."""

    images: int
    """Training images."""
    processes: int
    batch_size: int
    process_batch: int
    """The share of a batch of one process."""
    micro_batch: int
    micro_batches: int
    """The parts that a process's share goes through the model in; the last may be smaller."""
    mix_group: int
    """Images are mixed inside groups of so many neighbours in the batch; 1 without mixing."""
    steps_per_epoch: float
    total_steps: int
    warmup_steps: int
    cooldown_steps: int
    mix_until_step: int
    phases: tuple[PlannedPhase, ...]
    """The whole course of the run; the last one ends with it."""
    lr: float
    """The peak learning rate."""
    schedule: Schedule
    eval_every: Duration
    save_every: Duration
    log_every: Duration

    def lr_at(self, step: int) -> float:
        """Give the learning rate of update number `step`, from 0."""
        return self.lr * self.schedule.scale_at(
            step,
            total_steps=self.total_steps,
            warmup_steps=self.warmup_steps,
            cooldown_steps=self.cooldown_steps,
        )

    def phase_at(self, step: int) -> PlannedPhase:
        """Give the phase of update number `step`, from 0."""
        return next(phase for phase in self.phases if step < phase.until_step)

    def epoch_at(self, step: int) -> float:
        """Give how many epochs `step` steps are."""
        return step * self.batch_size / self.images

    def evaluates_at(self, step: int) -> bool:
        """Tell whether to evaluate after `step` steps: at the end of every `eval.every`, and at the end."""
        return step == self.total_steps or self.ends(self.eval_every, step)

    def saves_at(self, step: int) -> bool:
        """Tell whether to save after `step` steps: at the end of every `save.every`, and at the end."""
        return step == self.total_steps or self.ends(self.save_every, step)

    def logs_at(self, step: int) -> bool:
        """Tell whether to log after `step` steps: at the first, every `track.log_every`, and at the end."""
        return step in (1, self.total_steps) or self.ends(self.log_every, step)

    def ends(self, every: Duration, step: int) -> bool:
        """Tell whether a multiple of `every` ends in the step just finished; exact, so it never drifts."""
        length = exact_steps(every, Fraction(self.images, self.batch_size), self.total_steps)
        return step // length > (step - 1) // length


def exact_steps(duration: Duration, steps_per_epoch: Fraction, total_steps: int) -> Fraction:
    """Give a duration in steps, not rounded."""
    scale = {"epoch": steps_per_epoch, "step": Fraction(1), "%": Fraction(total_steps, 100)}[duration.unit]
    return Fraction(str(duration.amount)) * scale


def make_plan(recipe: Recipe, images: int, processes: int = 1, fits: int | None = None) -> Plan:
    """Work out a recipe for `images` training images and `processes` processes.

    `fits` is the micro batch that was found for `train.micro_batch: auto`; before, that is a process's whole share.

    Raises RecipeError, with the nearest numbers that fit, if the batch can't be divided or outnumbers the images, or if
    warm-up, cooldown, mixing or a phase last longer than the run.
    """
    size = recipe.train.batch_size
    if size > images:
        raise RecipeError(
            f"train.batch_size: {size} is more than the {images} training images", f"Use at most {images}."
        )
    group = mix_group(size) if mixes(recipe) else 1
    process_batch = divide_batch(size, images, processes, mixing=group > 1)
    asked = recipe.train.micro_batch
    micro_batch = min((fits if asked == "auto" else asked) or process_batch, process_batch)
    if micro_batch % group:
        near = nearest(micro_batch, process_batch, lambda n: n % group == 0)
        raise RecipeError(
            f"train.micro_batch: {micro_batch} is not a multiple of {group}, "
            f"the size of the groups in which a batch of {size} is mixed; {near}"
        )
    per_epoch = Fraction(images, size)
    total = ceil(exact_steps(recipe.train.length, per_epoch, 0))
    plan = Plan(
        images=images,
        processes=processes,
        batch_size=size,
        process_batch=process_batch,
        micro_batch=micro_batch,
        micro_batches=ceil(process_batch / micro_batch),
        mix_group=group,
        steps_per_epoch=float(per_epoch),
        total_steps=total,
        warmup_steps=ceil(exact_steps(recipe.schedule.warmup, per_epoch, total)),
        cooldown_steps=ceil(exact_steps(recipe.schedule.cooldown, per_epoch, total)),
        mix_until_step=total if recipe.mix.until is None else ceil(exact_steps(recipe.mix.until, per_epoch, total)),
        phases=make_phases(recipe, per_epoch, total),
        lr=recipe.optim.lr,
        schedule=recipe.schedule,
        eval_every=recipe.eval.every,
        save_every=recipe.save.every,
        log_every=recipe.track.log_every,
    )
    check_lengths(plan, recipe)
    return plan


def make_phases(recipe: Recipe, steps_per_epoch: Fraction, total_steps: int) -> tuple[PlannedPhase, ...]:
    """Work out the phases of a run, and what comes after them, if anything does. Raises RecipeError for a phase without steps."""
    phases: list[PlannedPhase] = []
    for number, phase in enumerate(recipe.train.phases):
        end = ceil(exact_steps(phase.until, steps_per_epoch, total_steps))
        begin = phases[-1].until_step if phases else 0
        where = f"train.phases.{number}.until: {phase.until}"
        if end > total_steps:
            raise RecipeError(f"{where} are {end} steps, more than the run of {total_steps} steps")
        if end <= begin:
            raise RecipeError(f"{where} is step {end}, and the phase begins at step {begin}")
        res = recipe.model.res if phase.res is None else phase.res
        phases.append(PlannedPhase(until_step=end, res=res, drop_tokens=phase.drop_tokens))
    if not phases or phases[-1].until_step < total_steps:
        phases.append(PlannedPhase(until_step=total_steps, res=recipe.model.res, drop_tokens=0.0))
    return tuple(phases)


def check_lengths(plan: Plan, recipe: Recipe) -> None:
    """Raise RecipeError if warm-up, cooldown or mixing do not fit into the run."""
    run = f"the run of {plan.total_steps} steps"
    if plan.warmup_steps + plan.cooldown_steps > plan.total_steps:
        cooldown = f" and {plan.cooldown_steps} of cooldown" if plan.cooldown_steps else ""
        raise RecipeError(
            f"schedule.warmup: {plan.warmup_steps} steps of warm-up{cooldown} do not fit into {run}",
            "Train longer, or give shares of the run, such as warmup: 5%.",
        )
    if plan.mix_until_step > plan.total_steps:
        raise RecipeError(f"mix.until: {recipe.mix.until} are {plan.mix_until_step} steps, more than {run}")


def divide_batch(size: int, images: int, processes: int, mixing: bool) -> int:
    """Give one process's share of a batch; where images are mixed, it holds whole groups."""

    def is_divisible(size: int) -> bool:
        return size % processes == 0 and not (mixing and size // processes % mix_group(size))

    if not is_divisible(size):
        reason = " into the groups in which images are mixed" if size % processes == 0 else ""
        raise RecipeError(
            f"train.batch_size: a global batch of {size} can't be divided among {processes} processes{reason}; "
            + nearest(size, images, is_divisible)
        )
    return size // processes


def nearest(wanted: int, most: int, suits: Callable[[int], bool]) -> str:
    """Name the numbers next to `wanted`, below and above, that suit; at most `most`."""
    below = next(filter(suits, range(wanted - 1, 0, -1)), None)
    above = next(filter(suits, range(wanted + 1, most + 1)), None)
    near = [str(n) for n in (below, above) if n is not None]
    if not near:
        return "no other number fits either"
    return f"the nearest are {near[0]} and {near[1]}" if len(near) == 2 else f"the nearest is {near[0]}"
