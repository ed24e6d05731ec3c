"""Open weights: ours, or those of other libraries, whose architecture and preprocessing are worked out first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vit_cli import __version__
from vit_cli.augment.preprocess import Preprocess
from vit_cli.augment.resize import cover_share
from vit_cli.checkpoint.foreign import is_foreign, read_foreign
from vit_cli.checkpoint.model import Saved, open_model
from vit_cli.data.decode import MAX_PIXELS
from vit_cli.data.imagenet import CLASSES, imagenet_names
from vit_cli.errors import CheckpointError, UsageError
from vit_cli.models import Model
from vit_cli.models.adapt import stretch_tables
from vit_cli.models.positions import Stretch
from vit_cli.models.weights.known import NAMINGS, recognise
from vit_cli.models.weights.naming import Foreign, Naming, to_ours
from vit_cli.recipe.changes import read_change
from vit_cli.recipe.plain import read_section
from vit_cli.section import as_grid

UNNAMED = "LABEL_"
"""How transformers calls classes that nobody named."""
EXPORTED = {
    ".onnx": (
        "is an exported file: vit predicts and evaluates with it, and no more",
        "Name the checkpoint it is from.",
    ),
    ".pt2": (
        "is a program of torch.export: to read one is to run what it holds, pickles and expressions, which vit never does",
        "Name the checkpoint, or an .onnx file; torch.export.load reads a .pt2 that you made yourself.",
    ),
}
"""Why files of these endings are not read as weights."""
TASKS = {"single_label_classification": "classification", "multi_label_classification": "multilabel"}
"""Our tasks by transformers' `problem_type`."""


def open_weights(
    path: Path, family: str | None = None, changes: Sequence[str] = (), own_stretch: bool = False
) -> Saved:
    """Open a checkpoint, a run, a model folder, or weights of another library, recognised by their names.

    `family` (`--as`) says whose they are; `changes` ("model.KEY=VALUE") go before what names and shapes tell, and another
    `model.res` stretches positions, as the family does with `own_stretch`. `about["imported"]` of foreign weights has
    `file`, `family`, `title`, `changes` in words and `stretch`, the family's own; their `class_names` are empty if they
    have no head.

    Raises CheckpointError, UsageError for `family` or `changes` that make no sense for the weights.
    """
    if path.suffix in EXPORTED:
        problem, hint = EXPORTED[path.suffix]
        raise CheckpointError(f"{path} {problem}", hint)
    if is_foreign(path):
        return open_foreign(path, family, changes, own_stretch)
    if family or changes:
        raise UsageError(
            f"{path} is a model of vit's own, or no weights that vit knows: it takes no --as and no model.KEY=VALUE"
        )
    return open_model(path)


def open_foreign(path: Path, family: str | None, changes: Sequence[str], own_stretch: bool) -> Saved:
    """Open weights of another library; the rest is as in `open_weights`."""
    found = read_foreign(path)
    foreign = Foreign(*found)
    try:
        naming = recognise(foreign, family)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error.problem}", error.hint) from error
    with reading(naming):
        told = naming.section(foreign)
        preprocess = naming.preprocess(foreign)
    wanted = told | read_overrides(changes)
    check_name(wanted.get("name"), naming)
    native, final = (read_model(plain, naming, bool(changes)) for plain in (wanted | keep_res(told), wanted))
    images: Preprocess = read_section(Preprocess, preprocess)
    check_images(native, images, is_changed=False)
    check_images(final, images, is_changed=bool(changes))
    weights, lines = to_ours(naming, foreign, native)
    if family is None:
        lines += [
            f"guessed  the names fit {other.title} too: vit import --as {other.name}"
            for other in find_rivals(foreign, naming)
        ]
    if found.besides:
        lines.append(f"dropped  {', '.join(found.besides)} (beside the model)")
    stretch = naming.stretching(foreign)
    chosen = stretch if own_stretch else Stretch()
    stretched = stretch_tables(weights, native.position_grids(), final.position_grids(), chosen)
    imported = {
        "file": path.name,
        "family": naming.name,
        "title": naming.entitle(foreign),
        "changes": [*lines, *stretched.changes],
        "stretch": stretch.model_dump(mode="json"),
    }
    names = name_classes(foreign.config, naming.classes(foreign))
    about = describe(final, names, preprocess) | {"task": read_task(foreign.config), "imported": imported}
    return Saved(path, stretched.weights, about)


def find_rivals(foreign: Foreign, chosen: Naming[Any]) -> list[Naming[Any]]:
    """List the other families whose names and shapes the weights have to the last tensor; a config leaves no doubt."""
    if foreign.config:
        return []
    shapes = replace(foreign, tensors={name: tensor.to("meta") for name, tensor in foreign.tensors.items()})
    alike = [naming for naming in NAMINGS if naming is not chosen and naming.recognises(shapes)]
    return [naming for naming in alike if fits(shapes, naming)]


def fits(foreign: Foreign, naming: Naming[Any]) -> bool:
    """Tell whether weights can be read as a family's."""
    try:
        with reading(naming):
            section = read_model(naming.section(foreign), naming, is_changed=False)
        to_ours(naming, foreign, section)
    except CheckpointError:
        return False
    return True


def read_task(config: Mapping[str, Any]) -> str:
    """Give the task that a config tells; CheckpointError for another, as a regression, whose scale no config tells."""
    told = config.get("problem_type") or "single_label_classification"
    if not isinstance(told, str) or told not in TASKS:
        raise CheckpointError(f"config.json: problem_type is {told!r:.40}, expected one of {', '.join(TASKS)}")
    return TASKS[told]


@contextmanager
def reading(naming: Naming[Any]) -> Iterator[None]:
    """Turn what shapes or a config of any content make a naming stumble over into a CheckpointError."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:  # pydantic's among them
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)[:120]
        raise CheckpointError(
            f"the weights of {naming.title} have shapes or a config.json that do not hold together: {reason}"
        ) from error


def check_images(section: Model, images: Preprocess, is_changed: bool) -> None:
    """Raise CheckpointError, or UsageError if the user changed the resolution, for one that no image may be resized to."""
    res = as_grid(section.res)
    resized = cover_share(res, images.crop if images.resize == "short" else 1.0)
    if resized.rows * resized.columns > MAX_PIXELS:
        text = f"images of {res} pixels, crop {images.crop:g}, would be resized to more than {MAX_PIXELS:,}"
        if is_changed:
            raise UsageError(f"model.res: {text}")
        raise CheckpointError(f"the weights tell too large a size or too small a crop: {text}")


def check_name(name: Any, naming: Naming[Any]) -> None:
    """Raise UsageError for a model that the family has no names for."""
    names = [kind.model_fields["name"].default for kind in naming.kinds]
    if name not in names:
        raise UsageError(f"model.name={name}: the weights are {naming.title}, which is {' or '.join(names)} here")


def keep_res(told: Mapping[str, Any]) -> dict[str, Any]:
    """Give the resolution that the weights are for, if they tell one."""
    return {"res": told["res"]} if "res" in told else {}


def describe(section: Model, names: Sequence[str], preprocess: Mapping[str, Any]) -> dict[str, Any]:
    """Say in plain values what weights are for, as a checkpoint of ours does."""
    images: Preprocess = read_section(Preprocess, preprocess)
    return {
        "model": section.model_dump(mode="json"),
        "res": list(as_grid(section.res)),
        "class_names": list(names),
        "preprocess": images.model_dump(mode="json"),
        "data": None,
        "held": None,
        "vit_version": __version__,
    }


def tell_import(saved: Saved) -> list[str]:
    """Say in words what became of foreign weights, and how their images are prepared; nothing for a model of ours."""
    imported = saved.about.get("imported")
    if imported is None:
        return []
    images: Preprocess = read_section(Preprocess, saved.about["preprocess"])
    mean, std = (" ".join(f"{value:g}" for value in triple) for triple in (images.mean, images.std))
    crop = "" if images.resize == "squash" else f", crop {images.crop:g}"
    return [
        f"weights  {imported['title']}",
        *imported["changes"],
        f"images  mean {mean}, std {std}, {images.resize}{crop}, {images.interpolation}",
    ]


def read_overrides(changes: Sequence[str]) -> dict[str, Any]:
    """Read `model.KEY=VALUE`; UsageError for any other key."""
    overrides = {}
    for text in changes:
        change = read_change(text)
        if len(change.keys) != 2 or change.keys[0] != "model":
            raise UsageError(f"{text!r} says nothing about the weights", "Write model.KEY=VALUE, as model.heads=12.")
        overrides[change.keys[1]] = change.value
    return overrides


def read_model(plain: Mapping[str, Any], naming: Naming[Any], is_changed: bool) -> Model:
    """Validate a model section; CheckpointError, or UsageError if the user changed it, says what does not hold together."""
    try:
        section: Model = TypeAdapter(Model).validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["model", *(str(part) for part in first["loc"] if part != plain.get("name"))])
        if is_changed:
            raise UsageError(f"{where}: {first['msg']}", f"The weights are {naming.title}.") from error
        raise CheckpointError(
            f"the weights of {naming.title} are of no model that vit knows: {where}: {first['msg']}",
            "What names and shapes can't tell: model.KEY=VALUE.",
        ) from error
    return section


def name_classes(config: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    """Name the classes: as the source's config does, as ImageNet-1k does if there are 1000, else by their numbers."""
    told = told_names(config)
    if len(told) == classes and not all(name.startswith(UNNAMED) for name in told):
        return make_unique(told)
    return imagenet_names() if classes == CLASSES else tuple(map(str, range(classes)))


def told_names(config: Mapping[str, Any]) -> list[str]:
    """Give the names that a config of transformers (`id2label`) or timm (`label_names`) tells; none if it tells none."""
    labels = config.get("id2label")
    if isinstance(labels, dict):
        told: Any = [labels.get(str(number)) for number in range(len(labels))]
    else:
        inner = config.get("pretrained_cfg")
        told = config.get("label_names") or (inner.get("label_names") if isinstance(inner, dict) else None)
    return told if isinstance(told, list) and all(isinstance(name, str) and name for name in told) else []


def make_unique(names: Sequence[str]) -> tuple[str, ...]:
    """Add a number to names that were there before: crane, crane (2)."""
    unique: dict[str, None] = {}
    for name in names:
        number, new = 1, name
        while new in unique:
            number += 1
            new = f"{name} ({number})"
        unique[new] = None
    return tuple(unique)
