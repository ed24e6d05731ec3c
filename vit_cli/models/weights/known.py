"""The namings that weights are recognised by, the more telling ones first."""

from __future__ import annotations

from typing import Any

from vit_cli.errors import CheckpointError, UsageError
from vit_cli.models.weights.compact import Compact
from vit_cli.models.weights.dinov3 import Dinov3
from vit_cli.models.weights.facebook import DeitNaming, Dino, Dinov2
from vit_cli.models.weights.google import GoogleVit
from vit_cli.models.weights.google_hybrid import GoogleHybrid
from vit_cli.models.weights.huggingface import HfDino, HfVit
from vit_cli.models.weights.huggingface_dinov3 import HfDinov3
from vit_cli.models.weights.naming import Foreign, Naming
from vit_cli.models.weights.timm_hybrid import TimmHybrid
from vit_cli.models.weights.timm_tnt import TimmTnt
from vit_cli.models.weights.timm_vit import TimmVit
from vit_cli.models.weights.torchvision_cnn import TorchvisionConvnext, TorchvisionResnet
from vit_cli.models.weights.torchvision_vit import TorchvisionVit

NAMINGS: tuple[Naming[Any], ...] = (
    GoogleHybrid(),
    GoogleVit(),
    TorchvisionVit(),
    TorchvisionResnet(),
    TorchvisionConvnext(),
    HfVit(),
    HfDino(),
    HfDinov3(),
    TimmTnt(),
    TimmHybrid(),
    Compact(),
    Dinov3(),
    Dinov2(),
    DeitNaming(),
    Dino(),
    TimmVit(),
)


def find_naming(name: str) -> Naming[Any]:
    """Give the naming called `name`; UsageError if there is none."""
    for naming in NAMINGS:
        if naming.name == name:
            return naming
    raise UsageError(f"there is no naming {name!r:.40}", f"One of: {', '.join(naming.name for naming in NAMINGS)}")


def recognise(foreign: Foreign, forced: str | None = None) -> Naming[Any]:
    """Give the naming of the source, or the `forced` one if its names are at least alike.

    Raises CheckpointError if no naming knows the names, or, naming the family found, if the forced one does not.
    """
    found = next((naming for naming in NAMINGS if naming.recognises(foreign)), None)
    if forced is not None:
        naming = find_naming(forced)
        if not naming.recognises(foreign):
            what = f"they look like {found.title}" if found else f"they begin with {begin(foreign)}"
            raise CheckpointError(
                f"the weights are not {naming.title}: {what}", f"Write --as {found.name}" if found else ""
            )
        return naming
    if found is None:
        model = tell_model(foreign)
        what = f"config.json names {model}, which vit does not have" if model else "no known family has these names"
        raise CheckpointError(
            f"{what}: {begin(foreign)}",
            f"Known are {', '.join(naming.title for naming in NAMINGS)}.",
        )
    return found


def tell_model(foreign: Foreign) -> str:
    """Give the name of the model that a config tells: transformers' class or kind, or timm's architecture; else nothing."""
    config = foreign.config
    told = config.get("architectures")
    names = [*(told if isinstance(told, list) else []), config.get("model_type"), config.get("architecture")]
    return next((f"{name:.60}" for name in names if name and isinstance(name, str)), "")


def begin(foreign: Foreign) -> str:
    """Show the first names."""
    names = [f"{name:.60}" for name in list(foreign.tensors)[:4]]
    return ", ".join(names) if names else "no tensor at all"
