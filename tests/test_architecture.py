"""DESIGN's rules, kept by a test: who may import whom, who alone may know what, and how long things may be."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vit_cli"
FILES = sorted(PACKAGE.rglob("*.py"))

# A place may import from places of a lower level only, never from its neighbours on the same level.
LEVELS = {
    "errors": 0,
    "section": 0,
    "keys": 0,
    "document": 0,
    "memory": 0,
    "models": 1,
    "data": 1,
    "augment": 1,
    "optim": 1,
    "metrics": 1,
    "device": 1,
    "dist": 1,
    "checkpoint": 1,
    "track": 1,
    "recipe": 2,
    "evaluate": 3,
    "train": 4,
    "inspect": 5,
    "export": 5,
    "report": 6,
    "study": 7,
    "cli": 8,
}
# dist chooses this process's device; both stand outside the braces of DESIGN, section 2.
NEIGHBOURS = {("dist", "device")}

# Who alone may import what.
ONLY = {
    "yaml": {"recipe"},
    "rich": {"cli"},
    "typer": {"cli"},
    "torch.distributed": {"dist"},
    "safetensors": {"checkpoint"},
    "matplotlib": {"report", "inspect"},
    "simplejpeg": {"data"},
    "torch.utils.tensorboard": {"track"},
    "wandb": {"track"},
    "mlflow": {"track"},
    "trackio": {"track"},
}
FORBIDDEN = {"timm", "pickle", "click"}
BAD_NAMES = {"utils", "helpers", "common", "manager", "handler", "engine", "misc"}

MOST_LINES, MOST_FUNCTION_LINES, MOST_ARGUMENTS, MOST_NESTING = 300, 60, 7, 3
NESTING = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def place_of(path: Path) -> str:
    """The package, or the module directly under vit_cli, that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def nesting(node: ast.AST, depth: int = 0) -> int:
    """The deepest block inside `node`; an elif is no deeper than its if, and an inner function starts anew."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        is_elif = (
            isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse and len(node.orelse) == 1
        )
        deeper = isinstance(child, NESTING) and not is_elif
        deepest = max(deepest, nesting(child, depth + deeper))
    return deepest


def test_every_place_is_known() -> None:
    places = {place_of(path) for path in FILES} - {"__init__", "__main__"}
    assert places <= LEVELS.keys()
    assert len(FILES) > 50


def test_imports_go_one_way() -> None:
    assert not (found := problems(wrong_ways)), found


def wrong_ways(path: Path) -> Iterator[str]:
    here = place_of(path)
    for module in imports(parse(path)) if here in LEVELS else ():
        parts = module.split(".")
        if parts[0] != "vit_cli" or len(parts) < 2 or parts[1] not in LEVELS or parts[1] == here:
            continue
        there = parts[1]
        if LEVELS[there] >= LEVELS[here] and (here, there) not in NEIGHBOURS:
            yield f"{here} must not import {module}"


def test_only_their_places_know_certain_libraries() -> None:
    assert not (found := problems(strange_libraries)), found


def strange_libraries(path: Path) -> Iterator[str]:
    for module in imports(parse(path)):
        if module.split(".")[0] in FORBIDDEN:
            yield f"{module} is not for vit_cli"
        for library, places in ONLY.items():
            if (module == library or module.startswith(library + ".")) and place_of(path) not in places:
                yield f"only {places} may import {module}"


def test_only_checkpoint_loads_tensors_and_always_safely() -> None:
    assert not (found := problems(unsafe_loads)), found


def unsafe_loads(path: Path) -> Iterator[str]:
    for node in ast.walk(parse(path)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called not in ("torch.load", "torch.save", "np.load", "numpy.load"):
            continue
        if place_of(path) != "checkpoint":
            yield f"only checkpoint may call {called}"
        flags = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called == "torch.load" and flags.get("weights_only") != "True":
            yield "torch.load without weights_only=True"


def test_files_and_functions_stay_small() -> None:
    assert not (found := problems(large_parts)), found


def large_parts(path: Path) -> Iterator[str]:
    tree = parse(path)
    if len(path.read_text().splitlines()) > MOST_LINES:
        yield f"more than {MOST_LINES} lines"
    if BAD_NAMES & set(path.relative_to(PACKAGE).with_suffix("").parts):
        yield "a name that says nothing"
    if not ast.get_docstring(tree):
        yield "a module starts with one line that says what it is"
    for function in functions(tree):
        if function.end_lineno - function.lineno + 1 > MOST_FUNCTION_LINES:
            yield f"{function.name} has more than {MOST_FUNCTION_LINES} lines"
        if nesting(function) > MOST_NESTING:
            yield f"{function.name} is nested more than {MOST_NESTING} deep"
        arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
        if count > MOST_ARGUMENTS and function.name != "__init__" and place_of(path) != "cli":
            yield f"{function.name} takes more than {MOST_ARGUMENTS} arguments"


def problems(rule: Callable[[Path], Iterable[str]]) -> str:
    """What `rule` finds wrong, a line each with the file's name in front."""
    return "\n".join(f"{name(path)}: {found}" for path in FILES for found in rule(path))
