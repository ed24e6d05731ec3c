"""The optimisers a recipe can name: `Optimizer` is the union of their sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vit_cli.optim.adamw import AdamW
from vit_cli.optim.lamb import Lamb
from vit_cli.optim.muon import Muon
from vit_cli.optim.sgd import Sgd

Optimizer = Annotated[AdamW | Sgd | Lamb | Muon, Field(discriminator="name")]
