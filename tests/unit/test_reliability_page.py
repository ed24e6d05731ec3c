"""docs/reliability.md names every test that is marked with a case, so that it can't rot."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/reliability.md").read_text(encoding="utf-8")
ROWS = {row[1]: row[0] for row in re.finditer(r"^\| ([A-Z]\d+) \|.*$", PAGE, re.MULTILINE)}


def marks_of(node: ast.AST) -> list[str]:
    """The cases of all `pytest.mark.case(...)` inside `node`."""
    calls = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.case"]
    return [argument.value for call in marks for argument in call.args if isinstance(argument, ast.Constant)]


def marked_tests() -> Iterator[tuple[str, str, str]]:
    """Each case with the file and the name of a test that is marked with it."""
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for decorator in function.decorator_list:
                for case in marks_of(decorator):
                    yield case, path.relative_to(TESTS.parent).as_posix(), function.name


def test_every_marked_test_stands_in_the_row_of_its_case() -> None:
    marked = list(marked_tests())
    assert len({case for case, _, _ in marked}) >= 80
    missing = [f"{case}: {name}" for case, file, name in marked if f"`{name}`" not in ROWS.get(case, "")]
    assert missing == [], "run scripts/write_reliability.py"


def test_all_cases_of_the_matrix_stand_on_the_page_in_order() -> None:
    counts = {"R": 26, "D": 11, "N": 8, "I": 20, "S": 10, "C": 9, "K": 8, "V": 9}
    assert list(ROWS) == [f"{letter}{number}" for letter, count in counts.items() for number in range(1, count + 1)]


def test_every_case_passes_or_says_why_not() -> None:
    bad = [
        row
        for row in ROWS.values()
        if not re.search(r"\| (passes(; skipped: .+)?|skipped: .+|not covered: .+) \|", row)
    ]
    assert bad == []


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(?:(tests/[\w/]+\.py)|(test_\w+\.py))(?:::(\w+))?`", PAGE)
    assert len(named) > 10
    for full, short, function in named:
        path = TESTS.parent / full if full else TESTS / "faults" / short
        assert path.is_file(), path
        assert not function or f"def {function}(" in path.read_text(encoding="utf-8"), function
