"""What a user gets who installs the package and does not have the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_brings_recipes_schema_and_styles_and_finds_them(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-c",
        "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))",
        str(tmp_path),
    ]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import vit_cli; assert vit_cli.__file__.startswith(sys.argv[1]);"
        "from vit_cli.recipe.find import shipped_recipes; from vit_cli.recipe.load import load_any;"
        "[load_any(name) for name in shipped_recipes()]; print(*shipped_recipes())"
    )
    words = [sys.executable, "-I", "-c", program, str(tmp_path / "site")]
    shown = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    names = zipfile.ZipFile(wheel).namelist()
    assert {"vit_cli/recipes/recipe.schema.json", "vit_cli/report/page.css"} <= set(names)


def test_help_answers_without_torch(tmp_path: Path) -> None:
    program = "import sys; import vit_cli.cli.main; print([name for name in ('torch', 'pydantic', 'numpy') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert shown.stdout.strip() == "[]", shown.stderr
