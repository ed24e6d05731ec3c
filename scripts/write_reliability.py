"""Write the table of docs/reliability.md: each of the 101 cases, how its tests ended, and where they are.

    python scripts/write_reliability.py                     runs all tests that are marked with a case, about half an hour
    python scripts/write_reliability.py --results FILE      takes the results of `make faults`

A test says by `@pytest.mark.case("R7")` what it covers. The text around the table is written by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- the table: scripts/write_reliability.py -->", "<!-- the end of the table -->"

TITLES = {
    "R": "Crash, preemption, resume",
    "D": "Several processes",
    "N": "Numbers",
    "I": "Images",
    "S": "Datasets",
    "C": "Recipe and command line",
    "K": "Checkpoints and weights",
    "V": "What a machine runs out of",
}
CASES = {
    "R1": "kill -9 in the middle of writing a checkpoint",
    "R2": "kill -9 when the checkpoint is written, but not synced",
    "R3": "kill -9 when it is synced, but has no name yet",
    "R4": "kill -9 when it has its name, before old ones are removed",
    "R5": "kill -9 while old ones are removed",
    "R6": "SIGTERM in the middle of an epoch",
    "R7": "SIGTERM to the launcher of 2 and 4 processes",
    "R8": "SIGTERM to one of several processes",
    "R9": "SIGUSR1, as Slurm sends it, through torchrun",
    "R10": "SIGTERM or Ctrl-C twice, during a save",
    "R11": "SIGTERM during an evaluation",
    "R12": "SIGTERM during a save",
    "R13": "a signal before the first step",
    "R14": "a save that takes longer than torchrun waits",
    "R15": "stopped twice in one epoch",
    "R16": "stopped at the end of an epoch, and of the run",
    "R17": "saved one step after it was resumed",
    "R18": "another number of loader workers after each stop",
    "R19": "another number of processes after each stop",
    "R20": "a number of processes that the batch does not divide among",
    "R21": "resumed with a changed recipe",
    "R22": "resumed with changed images",
    "R23": "two runs in one folder; a lock whose owner died",
    "R24": "a checkpoint of another format version",
    "R25": "torchrun starts the processes anew after a failure",
    "R26": "other code draws from the generators of Python, numpy and torch",
    "D1": "one process is killed",
    "D2": "one process is frozen",
    "D3": "a loader worker is killed",
    "D4": "a loader worker hangs, or is slow",
    "D5": "one process holds Python's lock for 20 s",
    "D6": "fewer images than the batch, or a batch smaller than the number of processes",
    "D7": "97 images to train on, 1001 to judge by, on 1, 2 and 4 processes",
    "D8": "processes that were started with different recipes",
    "D9": "only the first process can't write",
    "D10": "a wrong address, a port in use, a process that does not come",
    "D11": "two machines (two launchers), with and without a shared run folder",
    "N1": "the loss is NaN on one process",
    "N2": "a gradient is infinite on one process, the loss finite",
    "N3": "three such steps are allowed: three, and four in a row",
    "N4": "a finite loss jumps to 50 times its value",
    "N5": "the scaler of float16 overflows",
    "N6": "a checkpoint with weights that are not finite",
    "N7": "a learning rate of 0, a warm-up longer than the run, no epochs",
    "N8": "the same seed twice, and another seed",
    "I1": "an empty file",
    "I2": "a JPEG cut in half",
    "I3": "a JPEG that lacks its last two bytes",
    "I4": "a web page called .jpg",
    "I5": "a PNG called .JPEG",
    "I6": "CMYK and YCCK",
    "I7": "palette, transparency, one bit, grey with alpha",
    "I8": "16 bits",
    "I9": "grey JPEG",
    "I10": "the eight EXIF orientations",
    "I11": "broken EXIF, a huge colour profile",
    "I12": "animated GIF, WebP and PNG",
    "I13": "1x1, 1x5000 and 5000x1 pixels",
    "I14": "a small file that claims 60000x60000 pixels",
    "I15": "a progressive JPEG of 40 megapixels",
    "I16": "1000 pages of TIFF, EPS, SVG, PSD, HEIC",
    "I17": "a few, very many and only broken files",
    "I18": "a broken validation image",
    "I19": "a file that vanishes or may not be read any more",
    "I20": "odd file names: not UTF-8, newlines, escape codes, 255 bytes",
    "S1": "a class without images",
    "S2": "other classes in validation, more or fewer, in another order",
    "S3": "labels out of range, negative, missing or no numbers",
    "S4": "the same image in training and validation",
    "S5": "files in the place of folders, nested folders, loops of links, hidden files",
    "S6": "broken and hostile tar archives",
    "S7": "a missing shard, fewer shards than readers",
    "S8": "a broken pack or index",
    "S9": "how well data sorted by class is shuffled",
    "S10": "a remote source that fails, resets or is slow",
    "C1": "an unknown key, a typing error",
    "C2": "wrong types and ranges, an empty file, tabs, BOM, CRLF, not UTF-8",
    "C3": "1e-4 is a number",
    "C4": "a key twice; no, off and 08",
    "C5": "alias bombs, deep nesting, 200 MB, tags that name code",
    "C6": "a resolution that the patch does not divide",
    "C7": "mixing with an odd batch, and a batch of one",
    "C8": "an output folder that is taken, read-only, a link or very long",
    "C9": "a GPU that is not there",
    "K1": "weights for another number of classes",
    "K2": "missing, unexpected and renamed tensors",
    "K3": "broken and hostile safetensors",
    "K4": "a pickle that would run code",
    "K5": "a folder of torch's distributed checkpoints",
    "K6": "a flipped bit in a checkpoint",
    "K7": "the newest checkpoint can't be read, the one before can",
    "K8": "weights of another model, resolution or precision",
    "V1": "the disk is full during a save",
    "V2": "a limit on the size of files",
    "V3": "too few open files, too little shared memory",
    "V4": "the run folder becomes read-only",
    "V5": "space for less than two checkpoints at the start",
    "V6": "no room for the journal, nobody reads stderr",
    "V7": "main memory runs out",
    "V8": "the clock jumps back, another time zone",
    "V9": "shared memory left by kill -9",
}
"""Every case, in few words."""
WITHOUT = {
    "N4": "there is no policy for finite jumps; clipping bounds what one step can do",
    "N5": "vit trains in float32 and bfloat16, which need no scaler",
}
"""Why a case has no test."""


class Marked(NamedTuple):
    """A test with one of its cases."""

    case: str
    file: str
    name: str

    @property
    def function(self) -> str:
        """The name of the test without its parameters."""
        return self.name.partition("[")[0]


class Collector:
    """A plugin of pytest that notes which test covers which case."""

    def __init__(self) -> None:
        self.marked: list[Marked] = []

    def pytest_collection_finish(self, session: Any) -> None:
        """Note the marks of all tests."""
        for item in session.items:
            file, _, name = item.nodeid.partition("::")
            numbers = {number for mark in item.iter_markers("case") for number in mark.args}
            self.marked += [Marked(number, file, name) for number in sorted(numbers)]


def collect() -> list[Marked]:
    """Find every test that is marked with a case, without running any."""
    collector = Collector()
    with redirect_stdout(StringIO()) as said:
        code = pytest.main(["--collect-only", "-q", "-p", "no:xdist", str(ROOT / "tests")], plugins=[collector])
    if code:
        sys.exit(said.getvalue())
    return collector.marked


def run_all() -> Path:
    """Run every test with a case; give the file of results."""
    path = Path(tempfile.mkdtemp(prefix="vit_reliability_")) / "results.xml"
    words = [
        sys.executable,
        "-m",
        "pytest",
        "tests",
        "-m",
        "case",
        f"--junitxml={path}",
        "-n",
        "2",
        "--dist",
        "worksteal",
    ]
    subprocess.run(words, cwd=ROOT, check=False)
    return path


def read_results(path: Path) -> dict[tuple[str, str], str]:
    """Read pytest's file of results: for each test `passes`, `skipped: why` or `fails`."""
    results = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        kinds = {child.tag: child.get("message", "") for child in case}
        result = "fails" if kinds.keys() & {"failure", "error"} else "passes"
        if "skipped" in kinds:
            result = f"skipped: {kinds['skipped']}"
        results[case.get("classname", "").replace(".", "/") + ".py", case.get("name", "")] = result
    return results


def judge(tests: Sequence[Marked], results: Mapping[tuple[str, str], str]) -> str:
    """Sum up how the tests of a case ended."""
    ends = {results.get((test.file, test.name), "not run") for test in tests}
    worst = [end for end in ("fails", "not run") if end in ends]
    skipped = sorted(end for end in ends if end.startswith("skipped"))
    return "; ".join([*worst, *(["passes"] if "passes" in ends and not worst else []), *skipped])


def make_table(marked: Sequence[Marked], results: Mapping[tuple[str, str], str]) -> str:
    """Write the counts and the table, in Markdown."""
    tests: dict[str, list[Marked]] = defaultdict(list)
    for test in marked:
        tests[test.case].append(test)
    if unknown := tests.keys() - CASES.keys():
        sys.exit(f"these marks name no case: {', '.join(sorted(unknown))}")
    outcomes = {case: judge(tests[case], results) if case in tests else explain(case) for case in CASES}
    passing = sum(outcome.startswith("passes") for outcome in outcomes.values())
    count = len({(test.file, test.name) for test in marked})
    lines = [f"{passing} of {len(CASES)} cases pass, {len(tests)} have a test; {count} tests in all.", ""]
    for letter, title in TITLES.items():
        lines += [f"### {letter}. {title}", "", "| | case | result | tests |", "|---|---|---|---|"]
        for case in (case for case in CASES if case[0] == letter):
            lines.append(f"| {case} | {CASES[case]} | {outcomes[case]} | {link(tests.get(case, []))} |")
        lines.append("")
    return "\n".join(lines)


def explain(case: str) -> str:
    """Say why a case has no test."""
    return f"not covered: {WITHOUT.get(case, 'no test yet')}"


def link(tests: Sequence[Marked]) -> str:
    """Name tests, each once, under the file that they are in."""
    named: dict[str, dict[str, None]] = defaultdict(dict)
    for test in tests:
        named[test.file][test.function] = None
    return "<br>".join(
        f"[{Path(file).name}](../{file}): {', '.join(f'`{name}`' for name in names)}" for file, names in named.items()
    )


def write_page(table: str) -> None:
    """Put a table in the place of the one on the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> int:
    """Read the arguments, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, help="the file that `make faults` wrote")
    args = parser.parse_args()
    marked = collect()
    results = read_results(args.results or run_all())
    write_page(make_table(marked, results))
    bad = sorted({result for result in results.values() if result == "fails"})
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
