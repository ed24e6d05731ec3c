"""Memory that glibc is asked to keep."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from vit_cli.memory import keep_memory


@pytest.mark.parametrize(
    ("most", "accepted"),
    [(2**31, [(-3, 2**30), (-1, 2**30)]), (2**25, [(-3, 2**25), (-1, 2**30)]), (0, []), (None, [])],
    ids=["new", "old", "refuses", "no glibc"],
)
def test_memory_is_kept_as_far_as_glibc_allows(
    most: int | None, accepted: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of what is trimmed, set alone, would freeze the other one: memory would be fetched anew more often than before."""
    taken: list[tuple[int, int]] = []

    def mallopt(parameter: int, value: int) -> int:
        if most is None or (parameter == -3 and value > most):
            return 0
        taken.append((parameter, value))
        return 1

    monkeypatch.setattr(
        ctypes, "CDLL", lambda _name: SimpleNamespace() if most is None else SimpleNamespace(mallopt=mallopt)
    )
    keep_memory()
    assert taken == accepted
