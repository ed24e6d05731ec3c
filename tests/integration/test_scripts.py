"""Benchmarks that no other test runs do run, at their smallest: what they call changes, and they are started once a month."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("bench_reliability.py --only step save --model mu --save-model mu --rounds 1 --steps 1", "save_stall"),
        ("bench_optimizers.py --size mu --batch 2 --rounds 1", "update_muon_ms"),
        ("bench_windows.py --res 32 --rounds 1", "axial"),
    ],
)
def test_it_runs_and_writes_what_it_measured(line: str, found: str, tmp_path: Path) -> None:
    words = line.split()
    command = [sys.executable, str(SCRIPTS / words[0]), *words[1:], "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: a ratio below its floor, which tells nothing at this size
    assert "Traceback" not in done.stderr
    assert found in done.stdout
    assert json.loads((tmp_path / "rows.json").read_text())
