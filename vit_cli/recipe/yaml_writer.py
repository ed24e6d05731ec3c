"""Write plain values as YAML that `yaml_reader` reads back as the same values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from vit_cli.recipe.yaml_reader import plain_value

BREAKS = frozenset("\x85\u2028\u2029")
"""Characters that YAML takes for the end of a line unless they are escaped."""


class Dumper(yaml.SafeDumper):
    """Writes text in quotes if YAML 1.1 or 1.2 would take it for something else, and repeats rather than aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def represent_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    """Quote what is not text without quotes."""
    style = None if plain_value(text) == text else "'"
    if not BREAKS.isdisjoint(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, represent_text)


def write_yaml(values: Mapping[str, Any]) -> str:
    """Give YAML of `values`, in their order; short lists and sections of plain values take one line."""
    text: str = yaml.dump(
        dict(values), Dumper=Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True
    )
    return text
