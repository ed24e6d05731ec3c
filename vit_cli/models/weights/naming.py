"""What a naming is: how one family of published weights calls and shapes its tensors, and what that says about the model.

To add a naming, write one file here with a subclass of `Naming` and put an instance into `NAMINGS` of known.py:

1. `name` is the word for `--as`, `title` the words for messages, `kinds` the sections it can stand for, `stretch` the
   family's own way to stretch positions, `aside` what is left aside on the way in ({pattern: reason}).
2. `recognises` looks at names alone (and `config`); it must be quick and never raise.
3. `section` works the recipe's `model` section out from names, shapes and `config`, as plain values (shapes.py helps).
4. `rules` lists pairs of names, theirs and ours. `{i}` stands for a number that both have, `{i+1}` for one that is one
   higher there. A rule that finds none of its names is skipped, so optional tensors need no conditions; that nothing is
   missing is checked against the model. A rule without a `convert` takes tensors as they are; convert.py has the others.
   Each rule runs in both directions if its conversion does: `to_ours` reads weights, `to_theirs` writes them.
5. What no rule can say (blocks stacked in one tensor, say) goes into `arrange`, before the rules, and `restore`, after them.
6. `preprocess` gives the plain values of `augment.preprocess.Preprocess`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from vit_cli.errors import CheckpointError
from vit_cli.models.adapt import shape
from vit_cli.models.classifier import Classifier
from vit_cli.models.positions import Stretch
from vit_cli.models.weights.convert import SAME, Conversion
from vit_cli.section import Section

S = TypeVar("S", bound=Section)
PLACE = re.compile(r"\{([a-z])([+-]\d+)?\}")
SHOWN = 8


@dataclass(frozen=True)
class Foreign:
    """What a source of other makers holds: tensors, the values of its config.json and of its preprocessor_config.json.

    `wrapped` are the keys that the tensors lay under in the file, as ("model",) in facebookresearch's .pth files or
    ("params",) in big_vision's npz; `besides` is what lay beside them and was left there, an optimiser's state say.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    wrapped: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Their tensors and ours that say the same: names with `{i}` for a number."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    convert: Conversion = SAME


def rule(theirs: str | Sequence[str], ours: str | Sequence[str], convert: Conversion = SAME) -> Rule:
    """Pair names that may stand alone."""
    return Rule(as_names(theirs), as_names(ours), convert)


def as_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Give one name or several as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


def layer(theirs: str, ours: str, convert: Conversion = SAME) -> list[Rule]:
    """Pair a layer's weight, which is converted, and its bias, which is not."""
    return [
        rule(f"{theirs}.weight", f"{ours}.weight", convert),
        rule(f"{theirs}.bias", f"{ours}.bias"),
    ]


class Naming(ABC, Generic[S]):
    """The names, shapes and habits of one family of weights; the module says how to add one."""

    name: ClassVar[str]
    title: ClassVar[str]
    kinds: ClassVar[tuple[type[Section], ...]]
    stretch: ClassVar[Stretch] = Stretch()
    aside: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def recognises(self, foreign: Foreign) -> bool:
        """Tell whether the source has this family's names."""

    @abstractmethod
    def section(self, foreign: Foreign) -> dict[str, Any]:
        """Work out the recipe's model section. Raises CheckpointError if shapes do not hold together."""

    @abstractmethod
    def classes(self, foreign: Foreign) -> int:
        """Count the classes of the head; 0 if there is none."""

    @abstractmethod
    def rules(self, section: S) -> list[Rule]:
        """List the pairs of names for a model of this section."""

    @abstractmethod
    def preprocess(self, foreign: Foreign) -> dict[str, Any]:
        """Say how images are prepared: what the source's config tells, else the family's default."""

    def entitle(self, foreign: Foreign) -> str:  # noqa: ARG002
        """Give the words for these weights, where the family has several kinds."""
        return self.title

    def stretching(self, foreign: Foreign) -> Stretch:  # noqa: ARG002
        """Give the family's own way to stretch positions, where it is not the same for all of it."""
        return self.stretch

    def unused(self, section: S) -> Mapping[str, str]:  # noqa: ARG002
        """Give the names of tensors that a model of this section leaves aside, each with the reason."""
        return self.aside

    def arrange(self, tensors: Mapping[str, Tensor], section: S) -> dict[str, Tensor]:  # noqa: ARG002
        """Bring their tensors to the names of `rules`; nothing to do for most."""
        return dict(tensors)

    def restore(self, tensors: Mapping[str, Tensor], section: S) -> dict[str, Tensor]:  # noqa: ARG002
        """Undo `arrange`."""
        return dict(tensors)


class Translated(NamedTuple):
    """Tensors by their new names, the old names each came from, and the names that no rule knows."""

    tensors: dict[str, Tensor]
    origins: dict[str, tuple[str, ...]]
    unknown: list[str]


def to_ours(naming: Naming[Any], foreign: Foreign, section: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Give a source's weights in our names, float32, and what became of them in words.

    `section` is the validated model section; all its tensors come from the source, but for a head that it has none of.
    Raises CheckpointError that names what is missing, unexpected or of another shape.
    """
    try:
        tensors = naming.arrange(foreign.tensors, section)
        reasons = find_reasons(naming.unused(section), tensors)
        kept = {name: tensor for name, tensor in tensors.items() if name not in reasons}
        done = translate(kept, [(r.theirs, r.ours, r.convert.forward) for r in naming.rules(section)])
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"the weights can't be read as {naming.title}: {error}") from error
    with torch.device("meta"):
        model = section.build(naming.classes(foreign))
    check_fit(done, model, naming)
    lines = [f"loaded  {len(kept)} tensors, {sum(t.numel() for t in kept.values()) / 1e6:.2f} M numbers"]
    lines += [f"dropped  {name} ({reason})" for name, reason in reasons.items()]
    return {name: as_single(tensor).contiguous() for name, tensor in done.tensors.items()}, lines


def as_single(tensor: Tensor) -> Tensor:
    """Give numbers with a fraction in float32, and counters as they are."""
    return tensor.float() if tensor.is_floating_point() else tensor


def to_theirs(naming: Naming[Any], section: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give our weights in their names. Raises ValueError for a tensor that this naming has no name for, or no way back to."""
    done = translate(weights, [(r.ours, r.theirs, r.convert.backward) for r in naming.rules(section)])
    if done.unknown:
        raise ValueError(f"{naming.title} has no name for {', '.join(sorted(done.unknown)[:SHOWN])}.")
    return {name: tensor.contiguous() for name, tensor in naming.restore(done.tensors, section).items()}


def translate(tensors: Mapping[str, Tensor], rules: Sequence[tuple[Any, Any, Any]]) -> Translated:
    """Rename and convert by rules (from, to, conversion), each tensor by the first rule that knows it.

    Raises ValueError for tensors that belong together of which some are missing, and where a conversion does.
    """
    left = dict.fromkeys(tensors)
    done: dict[str, Tensor] = {}
    origins: dict[str, tuple[str, ...]] = {}
    for given, wanted, convert in rules:
        for numbers in find_numbers(given, left):
            old = tuple(fill(name, numbers) for name in given)
            new = tuple(fill(name, numbers) for name in wanted)
            missing = [name for name in old if name not in tensors]
            if missing:
                raise ValueError(f"{', '.join(missing)}: missing.")
            try:
                results = convert([tensors[name] for name in old])
            except (RuntimeError, ValueError, IndexError) as error:
                shapes = ", ".join(f"{name} of {shape(tensors[name])}" for name in old)
                raise ValueError(f"{shapes} has a strange shape ({error}).") from error
            twice = [name for name in new if name in done]
            if twice:
                raise ValueError(f"{', '.join(old)}: {twice[0]} is there under another name too.")
            done.update(zip(new, results, strict=True))
            origins.update(dict.fromkeys(new, old))
            for name in old:
                left.pop(name, None)
    return Translated(done, origins, list(left))


def find_numbers(patterns: Sequence[str], names: Mapping[str, None]) -> list[dict[str, int]]:
    """List the numbers for which `names` has one of `patterns`, each once."""
    found: dict[tuple[tuple[str, int], ...], None] = {}
    for pattern in patterns:
        if not PLACE.search(pattern):
            found |= {(): None} if pattern in names else {}
            continue
        places = PLACE.findall(pattern)
        expression = compile_pattern(pattern)
        for match in filter(None, map(expression.fullmatch, names)):
            numbers = {
                letter: int(text) - int(shift or 0)
                for (letter, shift), text in zip(places, match.groups(), strict=True)
            }
            found[tuple(numbers.items())] = None
    return [dict(key) for key in found]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Make a regular expression of a name with `{i}`: as many groups as there are places."""
    pieces = [re.escape(piece) for piece in re.split(r"\{[a-z](?:[+-]\d+)?\}", pattern)]
    return re.compile(r"(\d{1,6})".join(pieces))


def fill(pattern: str, numbers: Mapping[str, int]) -> str:
    """Put numbers into a name."""
    return PLACE.sub(lambda place: str(numbers[place[1]] + int(place[2] or 0)), pattern)


def find_reasons(unused: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Say of each name that a pattern of `unused` fits why it is left aside."""
    patterns = [(compile_pattern(pattern), reason) for pattern, reason in unused.items()]
    return {name: reason for name in names for pattern, reason in patterns if pattern.fullmatch(name)}


def check_fit(done: Translated, model: Classifier, naming: Naming[Any]) -> None:
    """Raise CheckpointError unless what was translated is the model to the last tensor."""
    if not done.tensors:
        raise CheckpointError(f"no tensor has a name of {naming.title}", "Another family: --as NAME.")
    own = model.state_dict()
    problems = [
        *(f"{name}: unexpected" for name in done.unknown),
        *(f"{name}: missing in the source" for name in own if name not in done.tensors),
        *describe_misfits(done, own),
    ]
    if problems:
        listed = "\n  ".join(problems[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CheckpointError(
            f"the weights do not fit {naming.title}:\n  {listed}{more}",
            "Another family: --as NAME; another architecture: model.KEY=VALUE.",
        )


def describe_misfits(done: Translated, own: Mapping[str, Tensor]) -> Iterator[str]:
    """Name tensors that the model lacks or that have another shape there, with the source's own names."""
    for name, tensor in done.tensors.items():
        origin = ", ".join(done.origins[name])
        if name not in own:
            yield f"{origin}: unexpected"
        elif own[name].shape != tensor.shape:
            yield f"{origin}: {shape(tensor)} in the source, {name} is {shape(own[name])} in the model"
