"""`Section`, the frozen base of every recipe section, and the small types that sections share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    from torch import Tensor


class Section(BaseModel):
    """One part of a recipe: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    either: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of keys of which one may have a value: a change of one on the command line takes the place of the others."""


class Grid(NamedTuple):
    """Rows and columns: of pixels, or of patches."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


class Look(NamedTuple):
    """What a transform needs of a picture whose size it was told: the least size to decode it at, and how far down.

    `least` None asks for all pixels, `bottom` None for all rows; `take` turns the pixels (3, h, w) into (3, rows, columns).
    """

    least: Grid | None
    bottom: int | None
    take: Callable[[Tensor], Tensor]


TaskName = Literal["classification", "multilabel", "regression"]
"""What is asked about an image: which one class, which labels of several, or which numbers."""


class Scale(Section):
    """What each target of a regression is brought to: less `mean`, divided by `std`, both of the training images."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Res = Positive | tuple[Positive, Positive]
"""A resolution in pixels: one number for a square, or [rows, columns]."""


def check_multiple(res: Res, unit: int, what: str) -> Res:
    """Give `res` if each of its sides is a multiple of `unit`, which is `what`; ValueError with the nearest that are."""
    for side in as_grid(res):
        if side % unit:
            below, above = side // unit * unit, (side // unit + 1) * unit
            near = f"the nearest are {below} and {above}" if below else f"the nearest is {above}"
            raise ValueError(f"{side} is not a multiple of {what}; {near}")
    return res


def as_grid(res: int | tuple[int, int]) -> Grid:
    """Give rows and columns for `res`: one number stands for a square."""
    return Grid(res, res) if isinstance(res, int) else Grid(*res)


DURATION = re.compile(r"^\s*(\d{1,12}(?:\.\d{1,12})?)\s*(epochs?|steps?|%)\s*$")


class Duration:
    """A length of training: "10 epochs", "500 steps" or "20%" (of all steps). Equal texts are equal durations."""

    def __init__(self, text: str) -> None:
        match = DURATION.match(text)
        if not match:
            raise ValueError(f"{text!r} is no duration; write for example '10 epochs', '500 steps' or '20%'")
        self.amount = float(match[1])
        self.unit: Literal["epoch", "step", "%"] = match[2].rstrip("s")  # type: ignore[assignment]
        if self.unit == "%" and self.amount > 100:
            raise ValueError(f"{text!r} is more than the whole run")

    def steps(self, steps_per_epoch: float, total_steps: int) -> int:
        """Count this duration in steps, rounded up, so that any duration above zero lasts at least one step."""
        scale = {"epoch": steps_per_epoch, "step": 1.0, "%": total_steps / 100}[self.unit]
        return max(math.ceil(round(self.amount * scale, 6)), int(self.amount > 0))

    def __str__(self) -> str:
        amount = f"{self.amount:.12f}".rstrip("0").rstrip(".")
        if self.unit == "%":
            return f"{amount}%"
        return f"{amount} {self.unit}" + ("" if self.amount == 1 else "s")

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: Any) -> Duration:
            if isinstance(value, Duration):
                return value
            if value == 0 and not isinstance(value, bool):
                return cls("0 steps")  # nothing needs no unit
            if not isinstance(value, str):
                raise ValueError(f"{value!r} has no unit; write for example '10 epochs', '500 steps' or '20%'")  # noqa: TRY004
            return cls(value)

        return core_schema.no_info_plain_validator_function(read, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": ["string", "integer"],
            "pattern": DURATION.pattern,
            "maximum": 0,
            "examples": ["10 epochs", "500 steps", "20%"],
        }


def resolve_path(value: Any, info: ValidationInfo) -> Any:
    """Make a recipe's path absolute: against the recipe's folder (`context["base"]`), then the current directory."""
    if not isinstance(value, str | Path):
        return value
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{value} names a user that this machine does not know") from error
    if not path.is_absolute():
        base = (info.context or {}).get("base")
        beside = Path(base) / path if base else path
        path = (beside if beside.exists() else path).absolute()
    return str(path) if info.mode == "json" else path  # strict JSON knows text only


DataPath = Annotated[Path, BeforeValidator(resolve_path), PlainSerializer(str, return_type=str)]
"""A path in a recipe; it is made absolute when the recipe is read."""
