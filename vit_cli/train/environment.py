"""What a run ran on: versions, devices, the state of the repository."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import vit_cli

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "safetensors", "pydantic", "typer", "datasets", "timm")


def describe_environment() -> dict[str, Any]:
    """Gather the facts that a result may depend on; nothing secret is among them."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "vit": vit_cli.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": read_processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "packages": {name: found for name in PACKAGES if (found := read_version(name))},
        "git": read_git(Path.cwd()),
    }


def read_version(package: str) -> str | None:
    """Give an installed package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_processor() -> str:
    """Name the CPU."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_git(folder: Path) -> dict[str, Any] | None:
    """Give commit and cleanliness of the repository around `folder`, if it is one and git is there."""

    def ask(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "clean": not ask("status", "--porcelain")}
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> str:
    """Give the command that was typed, with the program's short name."""
    import shlex

    return shlex.join(["vit", *sys.argv[1:]])
