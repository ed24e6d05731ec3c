"""What a run ran on: versions, devices, the state of the repository."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import vit_cli
from vit_cli.errors import UsageError

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "safetensors", "pydantic", "typer")
OPTIONAL = ("datasets",)
"""What only some runs import; listed for those."""
FLOORS = {"torch": (2, 10), "pillow": (12, 3), "safetensors": (0, 8)}
"""Older ones are broken by files: checkpoints (CVE-2026-24747) and pictures (CVE-2026-42311) can damage memory, weights that
are written over while they are mapped turn to zeros."""
NAMED = r"(?:key|token|secret|password|passwd|credentials?)"
SECRET_FLAG = re.compile(rf"--[\w-]*{NAMED}", re.IGNORECASE)
SECRET = re.compile(
    rf"""(^[\w.-]*{NAMED}=).*|({NAMED}["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,}}]+)""", re.IGNORECASE | re.DOTALL
)
"""The value of what is named like a secret: of a whole word, or inside of one."""
LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
"""User and password in an address."""


def describe_environment() -> dict[str, Any]:
    """Gather the facts that a result may depend on; nothing secret is among them."""
    imported = [name for name in OPTIONAL if name in sys.modules]
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
        "packages": {name: found for name in (*PACKAGES, *imported) if (found := read_version(name))},
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


def check_versions(find: Callable[[str], str | None] = read_version) -> None:
    """Raise UsageError if a package is installed in a version that files are known to break."""
    for package, floor in FLOORS.items():
        found = find(package)
        numbers = re.match(r"(\d+)\.(\d+)", found or "")
        if numbers and (int(numbers[1]), int(numbers[2])) < floor:
            least = ".".join(map(str, floor))
            raise UsageError(
                f"{package} {found} is not safe: there are files that break it; vit needs {least} or later",
                f"pip install '{package}>={least}'",
            )


def command_line() -> str:
    """Give the command that was typed, with the program's short name, and stars for what is secret."""
    words = sys.argv[1:]
    shown = ["***" if SECRET_FLAG.fullmatch(flag) else mask(word) for flag, word in zip(["", *words], words)]  # noqa: B905
    return shlex.join(["vit", *shown])


def mask(word: str) -> str:
    """Put stars for the values of secrets, and for user and password in addresses."""
    return SECRET.sub(r"\1\2***", LOGIN.sub("***@", word))
