"""An index for WebDataset tars of others, which stay where they are; and the check of shards against their index."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from vit_cli.data.ahead import make_batches
from vit_cli.data.folder import is_utf8
from vit_cli.data.pack import PATIENCE, Packed, Say, count_cores
from vit_cli.data.pack_files import written_aside
from vit_cli.data.samples import listed, printable
from vit_cli.data.shard_index import (
    COLUMNS,
    INDEX,
    PackIndex,
    ShardFile,
    Table,
    hash_file,
    make_fingerprint,
    map_table,
    read_index,
    write_index,
)
from vit_cli.data.shards import check_shards
from vit_cli.data.tar_samples import Scan, scan_tar
from vit_cli.errors import DataError, TrainingError, UsageError

NUMBERED = re.compile(r"^(.*?)(\d+)$")
SAY_SECONDS = 10.0
SHOWN = 3
T = TypeVar("T")


class Options(NamedTuple):
    """How an index is made: with these names of classes, reading everything, from tars whose numbers may have gaps."""

    classes: Path | None = None
    verify: bool = False
    allow_gaps: bool = False
    workers: int | None = None


def import_shards(source: Path, out: Path | None, options: Options, say: Say) -> Packed:
    """Index the tars in a folder, or one tar: the index goes beside them, or into `out`. Nothing is copied.

    Where there is an index already and `verify` is asked for, the shards are checked against it. Raises DataError for a
    tar that is not in order, naming it and the member; UsageError if the index is there already.
    """
    start = time.monotonic()
    source = source.expanduser().absolute()
    folder = out.expanduser().absolute() if out else source if source.is_dir() else source.parent
    if (folder / INDEX).exists():
        if not options.verify:
            raise UsageError(
                f"{folder / INDEX} is there already", "remove it to make it anew; --verify checks the shards against it"
            )
        return Packed(folder, verify_shards(folder, options.workers, say), time.monotonic() - start)
    paths = find_tars(source, options.allow_gaps)
    scans = run(partial(scan_nth, paths, options.verify), len(paths), options.workers, say)
    classes, labels = number_classes(scans, paths, read_names(options.classes))
    passed = sum(scan.passed for scan in scans)
    if passed:
        say(f"{passed} samples without a picture are left out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        index = write_all(folder, paths, scans, classes, labels)
    except OSError as error:
        raise TrainingError(f"{folder} can't be written: {error.strerror}", "--out names another folder") from error
    return Packed(folder, index, time.monotonic() - start)


def find_tars(source: Path, allow_gaps: bool) -> list[Path]:
    """List the tars of a folder, sorted by name. Raises DataError if there are none, or if their numbers have gaps."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source} is not there")
    paths = sorted(path for path in source.iterdir() if path.suffix == ".tar" and not path.name.startswith("."))
    if not paths:
        packed = sorted(path.name for path in source.iterdir() if ".tar." in path.name or path.suffix == ".tgz")
        hint = f"it has {listed(packed, 'compressed file', 'compressed files')}: unpack them first" if packed else ""
        raise DataError(f"{source} holds no .tar", hint or "name the folder that the shards lie in")
    if strange := [path for path in paths if not is_utf8(os.fsencode(path))]:
        raise DataError(f"{printable(os.fsencode(strange[0]))} is not in UTF-8, and an index is", "rename it")
    check_gaps(source, paths, allow_gaps)
    return paths


def check_gaps(source: Path, paths: Sequence[Path], allow_gaps: bool) -> None:
    """Raise DataError if a number is missing among the names of tars, unless that is allowed."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for path in paths:
        if match := NUMBERED.match(path.stem):
            numbers[match[1]].add(int(match[2]))
    gaps = [(name, min(set(range(min(n), max(n))) - n)) for name, n in numbers.items() if max(n) - min(n) >= len(n)]
    if gaps and not allow_gaps:
        raise DataError(
            f"{source}: shard {gaps[0][1]} of {gaps[0][0]}*.tar is missing",
            "fetch it, or say --allow-gaps to do without",
        )


def read_names(path: Path | None) -> list[str] | None:
    """Read the names of classes, one a line. Raises DataError."""
    if path is None:
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is not in UTF-8'}") from error
    while names and not names[-1]:
        names.pop()
    if not names or not all(names) or len(set(names)) < len(names):
        raise DataError(f"{path} names a class twice, or by an empty line", "each line names a class of its own")
    return names


def scan_nth(paths: Sequence[Path], reads_all: bool, number: int) -> Scan | OSError:
    """Walk through one of the tars; give the error if it can't be read."""
    try:
        return scan_tar(paths[number], reads_all)
    except OSError as error:
        return OSError(error.errno, error.strerror or "it can't be read", str(paths[number]))


def run(work: Callable[[int], T | OSError], count: int, workers: int | None, say: Say) -> list[T]:
    """Do something for each shard, with several processes. Raises DataError for the first that can't be read."""
    workers = min(workers or count_cores(), count)
    results: list[T] = []
    spoken = time.monotonic()
    for result in make_batches(work, range(count), 0 if workers == 1 else workers, PATIENCE):
        if isinstance(result, OSError):
            raise DataError(f"{result.filename} can't be read: {result.strerror}") from result
        results.append(result)
        if time.monotonic() - spoken > SAY_SECONDS:
            spoken = time.monotonic()
            say(f"{len(results)} of {count} shards")
    return results


def number_classes(
    scans: Sequence[Scan], paths: Sequence[Path], names: Sequence[str] | None
) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """Give the classes, and the labels of each shard by their numbers. Raises DataError for one without a name."""
    full = [(scan, path) for scan, path in zip(scans, paths, strict=True) if len(scan.labels)]
    if not full:
        raise DataError(f"{paths[0].parent} holds no picture with a class")
    first = full[0]
    for scan, path in full:
        if (scan.names is None) != (first[0].names is None):
            raise DataError(f"{path} has classes by {'number' if scan.names is None else 'name'}, {first[1]} has not")
    if first[0].names is not None:
        known = tuple(names or sorted({name for scan in scans for name in scan.names or ()}))
        numbers = {name: number for number, name in enumerate(known)}
        for scan, path in full:
            if unknown := sorted(set(scan.names or ()) - numbers.keys()):
                raise DataError(f"{path} has {listed(unknown, 'class', 'classes')}, not in the list of classes")
        tables = [np.array([numbers[name] for name in scan.names or ()], dtype=np.int64) for scan in scans]
        return known, [table[scan.labels] for table, scan in zip(tables, scans, strict=True)]
    most = max(int(scan.labels.max()) for scan, _ in full)
    if names is not None and most >= len(names):
        where = next(path for scan, path in full if scan.labels.max() == most)
        raise DataError(f"{where} has class {most}, but {len(names)} classes have names", "numbers count from 0")
    return tuple(names or map(str, range(most + 1))), [scan.labels for scan in scans]


def write_all(
    folder: Path,
    paths: Sequence[Path],
    scans: Sequence[Scan],
    classes: tuple[str, ...],
    labels: list[NDArray[np.int64]],
) -> PackIndex:
    """Write the tables, then the index. Raises OSError."""
    columns: dict[str, Sequence[Table]] = {
        "places": [scan.places for scan in scans],
        "labels": labels,
        "keys": [scan.keys for scan in scans],
    }
    tables = {}
    for name, (kind, _) in COLUMNS.items():
        with written_aside(folder / f"{name}.bin") as file:
            for part in columns[name]:
                file.write(part.astype(kind).tobytes())
        tables[name] = file.digest.hexdigest()
    shards = tuple(
        ShardFile(
            file=path.name if path.parent == folder else str(path),
            images=len(scan.labels),
            bytes=scan.bytes,
            sha256=scan.sha256,
        )
        for path, scan in zip(paths, scans, strict=True)
    )
    counts = sum((np.bincount(part, minlength=len(classes)) for part in labels), start=np.zeros(len(classes), np.int64))
    index = PackIndex(
        format="wds",
        images=int(counts.sum()),
        classes=classes,
        counts=tuple(counts.tolist()),
        shards=shards,
        tables=tables,
        quoted=False,
        made=None,
        fingerprint=make_fingerprint(classes, shards, tables),
    )
    with written_aside(folder / INDEX) as file:
        file.write(write_index(index))
    return index


def verify_shards(folder: Path, workers: int | None, say: Say) -> PackIndex:
    """Read all shards and tables against their index. Raises DataError, naming those that differ."""
    try:
        index = read_index((folder / INDEX).read_bytes(), str(folder / INDEX))
        check_shards(folder, index)
        places = verify_tables(folder, index) if index.format == "wds" else None
    except OSError as error:
        raise DataError(
            f"{error.filename or folder} can't be read: {error.strerror}", "copy or make it anew"
        ) from error
    if any(shard.sha256 is None for shard in index.shards):
        say(
            f"{folder / INDEX} has no checksums, so only the places of images are checked, not their content; "
            "remove it and import with --verify to have them"
        )
    problems = run(partial(verify_nth, folder, index, places), len(index.shards), workers, say)
    wrong = [problem for problem in problems if problem]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise DataError(f"{'; '.join(wrong[:SHOWN])}{more}", "copy these shards again, or make the index anew")
    return index


def verify_tables(folder: Path, index: PackIndex) -> Table:
    """Read the tables against their checksums; give that of places. Raises DataError, or OSError if one can't be read."""
    places = map_table(folder / "places.bin", "places", index.images)
    for name, digest in index.tables.items():
        if hash_file(folder / f"{name}.bin") != digest:
            raise DataError(f"{folder / name}.bin is damaged: it has another checksum", "copy or make it anew")
    return places


def verify_nth(folder: Path, index: PackIndex, places: Table | None, number: int) -> str | OSError:
    """Say what is wrong with a shard, by its checksum, or where there is none by walking through it; "" if nothing is."""
    shard = index.shards[number]
    path = folder / shard.file
    try:
        if shard.sha256 is not None:
            is_same = hash_file(path) == shard.sha256
            return "" if is_same else f"{printable(os.fsencode(path))} is damaged: it has another checksum"
        start = sum(shard.images for shard in index.shards[:number])
        found = scan_tar(path, reads_all=False).places
        is_same = places is None or np.array_equal(found, places[start : start + shard.images])
        return "" if is_same else f"{printable(os.fsencode(path))} holds other images than its index says"
    except OSError as error:
        return OSError(error.errno, error.strerror or "it can't be read", str(path))
