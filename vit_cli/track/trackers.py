"""The trackers by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vit_cli.track.mlflow import Mlflow
from vit_cli.track.tensorboard import TensorBoard
from vit_cli.track.trackio import Trackio
from vit_cli.track.wandb import Wandb

TrackTo = Annotated[TensorBoard | Wandb | Mlflow | Trackio, Field(discriminator="name")]
