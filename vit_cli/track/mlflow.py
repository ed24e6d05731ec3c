"""MLflow."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from vit_cli.section import Section
from vit_cli.track.tracker import TrackedRun, bring, flatten

LONGEST = 500
"""Letters of a parameter's value, which every kind of store takes."""


class Mlflow(Section):
    """Runs of an MLflow experiment, in a database in the run folder or wherever `uri` says."""

    name: Literal["mlflow"] = "mlflow"
    project: str = Field("vit", min_length=1, description="the experiment")
    uri: str | None = Field(
        None,
        description="a tracking server (https://...) or database (sqlite:///...); null: mlflow.db in the run folder",
    )

    @field_validator("uri")
    @classmethod
    def holds_no_password(cls, uri: str | None) -> str | None:
        if uri and urlsplit(uri).password:
            raise ValueError(
                "a recipe is no place for a password; MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri

    def prepare(self, run: TrackedRun) -> None:  # noqa: ARG002
        """Import what is needed; UsageError if it is not installed."""
        is_database = self.uri is None or self.uri.startswith("sqlite:")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results
        bring("mlflow", "mlflow", *(("sqlalchemy", "alembic") if is_database else ()))
        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)

    def open(self, run: TrackedRun) -> MlflowRun:
        return MlflowRun(self, run)


class MlflowRun:
    """An open run; only this object knows of it, so that nothing else in the process logs to it."""

    def __init__(self, section: Mlflow, run: TrackedRun) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        place = section.uri or f"sqlite:///{run.folder / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=place)
        self.id: str = (
            run.known or self.client.create_run(self.find_experiment(section, run), run_name=run.name).info.run_id
        )
        if run.known:
            self.client.update_run(self.id, status="RUNNING")
        else:
            params = [Param(key, value[:LONGEST]) for key, value in flatten(run.recipe).items()]
            for start in range(0, len(params), 100):  # as many as a server takes at once
                self.client.log_batch(self.id, params=params[start : start + 100])

    def find_experiment(self, section: Mlflow, run: TrackedRun) -> str:
        """Give the experiment of that name, which is made if there is none."""
        found = self.client.get_experiment_by_name(section.project)
        if found:
            return found.experiment_id
        artifacts = None if section.uri else (run.folder / "mlflow").as_uri()
        return self.client.create_experiment(section.project, artifact_location=artifacts)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def end(self, finished: bool) -> None:
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")
