"""The models a recipe can name: `Model` is the union of their sections."""

from typing import Annotated

from pydantic import Field

from vit_cli.models.cct import Cct
from vit_cli.models.convnext import Convnext
from vit_cli.models.deit import Deit
from vit_cli.models.hybrid import Hybrid
from vit_cli.models.resnet import Resnet
from vit_cli.models.tnt import Tnt
from vit_cli.models.vit import Vit

Model = Annotated[Vit | Deit | Tnt | Cct | Hybrid | Resnet | Convnext, Field(discriminator="name")]
