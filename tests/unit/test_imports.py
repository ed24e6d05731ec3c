"""What a command imports before it does anything: the user waits for it, and so does every process of a run."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = [
    "recipe.load",
    "dist.launch",
    "evaluate.judge",
    "evaluate.predict",
    "train.start",
    "export.write",
    "report.write",
]


@pytest.mark.slow
def test_torchvision_the_compiler_and_parted_tensors_come_when_they_are_needed() -> None:
    lines = [*(f"import vit_cli.{name}" for name in COMMANDS), "import sys", "print(*sys.modules)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "torch" in modules
    assert not {
        "torchvision",
        "torch._dynamo",
        "torch.distributed.tensor",
        "matplotlib.pyplot",
        "sklearn",
        "scipy",
    } & set(modules)
