"""The teacher of a distillation: a trained network, brought to the student's images and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.file import digest
from vit_cli.checkpoint.foreign import read_foreign
from vit_cli.data.imagenet import are_same
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.evaluate.saved import get_ready
from vit_cli.models.adapt import load_weights
from vit_cli.models.teacher import TorchvisionTeacher
from vit_cli.recipe.find import shipped_recipes
from vit_cli.section import Grid


@dataclass(frozen=True)
class Teacher:
    """A network that answers and never changes.

    `scale` and `shift`, each (3, 1, 1), take the student's normalisation to the teacher's; `order` (K,) says where the
    student's classes stand among the teacher's. None where there is nothing to change.
    """

    title: str
    digest: str
    network: nn.Module
    scale: Tensor | None
    shift: Tensor | None
    order: Tensor | None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Give logits (b, K) in the student's order of classes for the images (b, 3, r, c) as the student sees them."""
        if self.scale is not None and self.shift is not None:
            images = torch.addcmul(self.shift, images, self.scale)
        logits: Tensor = self.network(images)
        return logits if self.order is None else logits[:, self.order]


@dataclass(frozen=True)
class Student:
    """What a teacher has to know of its student, whose images also come at the resolutions of `phases`."""

    classes: Sequence[str]
    preprocess: Preprocess
    res: Grid
    phases: tuple[Grid, ...] = ()


def open_teacher(choice: TorchvisionTeacher | Path, student: Student, world: World) -> Teacher:
    """Read the teacher that a recipe names: a model of torchvision's, or a run, checkpoint or model folder of ours.

    Raises CheckpointError if it is missing or damaged, does not know all classes, or can't take the student's images.
    """
    path = choice if isinstance(choice, Path) else choice.weights
    if not path.exists():
        raise CheckpointError(f"there is no teacher {path}", explain_missing(choice))
    teacher = open_own(choice, student, world) if isinstance(choice, Path) else open_torchvision(choice, student, world)
    teacher.network.eval().requires_grad_(False)
    for res in dict.fromkeys((student.res, *student.phases)):
        try_out(teacher, path, res, world)
    return teacher


def explain_missing(choice: TorchvisionTeacher | Path) -> str:
    """Say how to make the teacher, if a shipped recipe of its name does, and how to name another."""
    if not isinstance(choice, Path):
        return "Name the file with its weights: distill.teacher.weights=FILE"
    other = (
        "Name a run, a checkpoint, a model folder or weights of another library: distill.teacher=PATH\n"
        "Or a model of torchvision's: 'distill.teacher={name: torchvision, model: resnet18, weights: FILE}'"
    )
    made = f"Train it first: vit train {choice.name} --out {choice}\n"
    return f"{made if choice.name in shipped_recipes() else ''}{other}"


def open_own(path: Path, student: Student, world: World) -> Teacher:
    """Read a model of ours, its positions stretched to the student's resolution, its classes matched by name."""
    try:
        ready = get_ready(path, world, (student.res.rows, student.res.columns))
    except UsageError as error:
        reason = error.problem.partition(": ")[2]
        raise CheckpointError(
            f"the teacher {path} can't take images of {student.res} pixels: {reason}",
            "Change model.res, or the teacher.",
        ) from error
    if ready.task.name != "classification":
        raise CheckpointError(f"the teacher {path} was trained for {ready.task.name}, so it tells no classes apart")
    names = student.classes if are_same(ready.class_names, student.classes) else ready.class_names
    lacking = [name for name in student.classes if name not in names]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise CheckpointError(
            f"the teacher {path} does not know the class '{lacking[0]}'{more}",
            f"It knows {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}.\n"
            f"Fine-tune it on your images first: vit finetune {path} --data DIR",
        )
    for res in student.phases:
        ready.model.allow(res)
    order = [names.index(name) for name in student.classes]
    scale, shift = compare_normalisation(student.preprocess, ready.preprocess, world.device)
    return Teacher(
        title=entitle(ready.saved.about["model"]["name"], ready.model, path),
        digest=digest({"model": ready.saved.weights, "about": ready.saved.about}),
        network=ready.model,
        scale=scale,
        shift=shift,
        order=None if order == list(range(len(names))) else torch.tensor(order, device=world.device),
    )


def open_torchvision(choice: TorchvisionTeacher, student: Student, world: World) -> Teacher:
    """Build a model of torchvision's for as many classes as the student has, in the same order, and load its weights."""
    network = choice.build(len(student.classes))
    weights = read_foreign(choice.weights).tensors
    try:
        load_weights(network, weights)
    except CheckpointError as error:
        error.hint = (
            f"The teacher must be a {choice.model} for the data's {len(student.classes)} classes, in the same order."
        )
        raise
    theirs = Preprocess(mean=choice.mean, std=choice.std)
    scale, shift = compare_normalisation(student.preprocess, theirs, world.device)
    return Teacher(
        title=entitle(f"torchvision's {choice.model}", network, choice.weights),
        digest=digest({"model": weights}),
        network=network.to(world.device),
        scale=scale,
        shift=shift,
        order=None,
    )


def entitle(name: str, network: nn.Module, path: Path) -> str:
    """Put a teacher into words."""
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return f"{name}, {millions:.2f} M parameters, {path}"


def compare_normalisation(
    own: Preprocess, theirs: Preprocess, device: torch.device
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Give the factor and the summand, each (3, 1, 1), that turn images normalised by `own` into those by `theirs`.

    (x - m) / s = y and (x - M) / S = Y give Y = y s / S + (m - M) / S.
    """
    if (own.mean, own.std) == (theirs.mean, theirs.std):
        return None, None
    both = torch.tensor([own.mean, own.std, theirs.mean, theirs.std], dtype=torch.float64)
    mean, std, their_mean, their_std = both.view(4, 3, 1, 1)
    scale, shift = std / their_std, (mean - their_mean) / their_std
    return scale.to(device, torch.float32), shift.to(device, torch.float32)


def try_out(teacher: Teacher, path: Path, res: Grid, world: World) -> None:
    """Ask a teacher once; CheckpointError if images of `res` are not for it."""
    try:
        teacher(torch.zeros(1, 3, *res, device=world.device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the teacher {path} can't take images of {res} pixels: {str(error).partition(chr(10))[0][:120]}",
            "Change model.res, train.phases, or the teacher.",
        ) from error
