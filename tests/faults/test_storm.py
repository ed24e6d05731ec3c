"""A short storm: runs killed at random moments end as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).parents[2] / "scripts/storm.py"


@pytest.mark.slow
@pytest.mark.case("R6", "R7", "R8", "R10", "D1")
def test_a_run_killed_at_random_moments_ends_equal(tmp_path: Path) -> None:
    words = [sys.executable, STORM, "--runs", "1", "--processes", "2", "--out", tmp_path]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "1 of 1 equal"
    assert "2 processes," in lines[0]
    assert list(tmp_path.iterdir()) == [], "the folders of equal runs are removed"
