"""What tests of several models share."""

from __future__ import annotations

import pytest

from vit_cli.models import layers


@pytest.fixture
def masked_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stochastic depth draw a mask at any rate, as other libraries do, instead of picking images from some rate on."""
    monkeypatch.setattr(layers, "SKIP_ABOVE", 1.0)
