"""What the JSON files of a run hold, as far as its report reads them; a key may be missing, another one is let be."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from vit_cli.section import TaskName

Number = float | None
"""Null stands for what is not finite."""


class Phase(TypedDict):
    """Training until a step, at a resolution, without a share of the patches."""

    until_step: int
    res: int | list[int]
    drop_tokens: float


class Plan(TypedDict, total=False):
    """plan.json."""

    images: int
    processes: int
    batch_size: int
    total_steps: int
    phases: list[Phase]


class Git(TypedDict):
    """The state of the repository that a run was started in."""

    commit: str
    clean: bool


class Environment(TypedDict, total=False):
    """env.json."""

    gpus: list[str]
    packages: dict[str, str]
    git: Git | None


class Status(TypedDict, total=False):
    """status.json."""

    status: str
    reason: str
    heartbeat: str
    step: int
    total_steps: int
    eta_seconds: float


class Final(TypedDict, total=False):
    """summary.json."""

    epochs: float
    parameters: int
    train_seconds: float


class Start(TypedDict, total=False):
    """start.json: what fine-tuning changed."""

    changes: list[str]
    before: dict[str, Number]


class Cells(TypedDict):
    """The cells of a confusion matrix that are not empty."""

    classes: int
    cells: list[tuple[int, int, int]]


class Judged(TypedDict):
    """evaluation.json."""

    step: int
    scores: dict[str, Number]
    seconds: float
    per_class: list[dict[str, Number | str]]
    confusion: NotRequired[Cells | None]
    calibration: NotRequired[list[list[float]] | None]


class Preprocess(TypedDict):
    """How an image is brought to the model."""

    resize: Literal["short", "squash"]
    interpolation: str
    crop: float
    mean: list[float]
    std: list[float]


class Config(TypedDict, total=False):
    """model/config.json."""

    task: TaskName
    class_names: list[str]
    res: tuple[int, int]
    preprocess: Preprocess | None
    recipe: dict[str, Any] | None
    model: dict[str, Any]
    data: dict[str, Any] | None


SHAPES: dict[str, Any] = {
    "plan.json": Plan,
    "env.json": Environment,
    "status.json": Status,
    "summary.json": Final,
    "start.json": Start,
    "evaluation.json": Judged,
    "model/config.json": Config,
}


@cache
def adapt(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def fits(content: bytes, shape: Any) -> bool:
    """Tell whether a JSON document is of a shape."""
    try:
        adapt(shape).validate_json(content, strict=True)
    except ValidationError:
        return False
    return True
