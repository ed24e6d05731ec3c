"""The network of opened weights, for the tests that compare its answers."""

from __future__ import annotations

import json

from pydantic import TypeAdapter

from vit_cli.checkpoint.model import Saved
from vit_cli.models import Model
from vit_cli.models.classifier import Classifier


def build(saved: Saved) -> Classifier:
    """Build what `about` says, with the weights; a headless one for no classes."""
    section = TypeAdapter(Model).validate_json(json.dumps(saved.about["model"]), strict=True)
    model: Classifier = section.build(len(saved.class_names))
    model.load_state_dict(saved.weights)
    return model.eval()
