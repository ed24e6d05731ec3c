"""Weights of other libraries: .npz, .safetensors, .pth, and folders with a config.json; nothing in them can run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from vit_cli.checkpoint.file import FORMAT, check_archive, explain, is_advice, is_plain_tensor
from vit_cli.checkpoint.model import CONFIG, MAX_CONFIG, MAX_TENSORS, check_weights, folder_of, read_small, read_tensors
from vit_cli.checkpoint.npz import list_arrays, read_arrays
from vit_cli.errors import CheckpointError

ZIP = b"PK\x03\x04"
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file of torch before 1.6 begins: its magic number, as a pickle."""
PREPROCESSOR = "preprocessor_config.json"
FILES = ("model.safetensors", "pytorch_model.bin")
WRAPPERS = ("model", "state_dict", "teacher", "student")
PREFIXES = ("module.", "_orig_mod.", "backbone.", "opt/target/", "params/img/", "params/")
"""What may stand before every name: of parallel, compiled or larger models, of optimisers' states, of big_vision's."""
MAX_FILES = 1_000
MAX_BESIDES = 8
MAX_SHARED = 4
"""How many times tensors may hold the same numbers: a head that is tied to an embedding holds them twice."""


class Found(NamedTuple):
    """What a source holds: tensors by the names that remain, its configs, the keys it lay under, and what lay beside."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    preprocessor: dict[str, Any]
    wrapped: tuple[str, ...]
    besides: tuple[str, ...]


def is_foreign(path: Path) -> bool:
    """Tell weights of other makers from ours, by their first bytes; what can't be told is not foreign."""
    if path.is_dir():
        return is_foreign_folder(path)
    if not path.is_file() or (folder_of(path) != path and not has_config(path)):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(len(OLD_TORCH))
    except OSError:
        return False
    if start.startswith(ZIP):
        return not is_checkpoint(path)
    return start == OLD_TORCH or start[8:9] == b"{"


def has_config(path: Path) -> bool:
    """Tell the file of weights of a folder that has another library's config.json."""
    return path.name in FILES and is_foreign_folder(path.parent)


def is_foreign_folder(folder: Path) -> bool:
    """Tell a folder that has another library's config.json."""
    try:
        config = json.loads(read_small(folder / CONFIG, MAX_CONFIG))
    except (OSError, ValueError, RuntimeError):
        return False
    return isinstance(config, dict) and "format_version" not in config


def is_checkpoint(path: Path) -> bool:
    """Tell an archive that begins like a checkpoint of ours, or that is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if pickled is None:
                return False
            with archive.open(pickled) as file:
                return FORMAT.encode() in file.read(200)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return True


def read_foreign(path: Path) -> Found:
    """Read foreign weights: the tensors of numbers in a file or a folder, with the configs beside them.

    A .pth file is loaded by torch as plain data, and is refused if it holds more; nothing is tried a second time.
    Raises CheckpointError for what is missing, damaged, unsafe, too large for its size on the disk, or not finite.
    """
    folder = path if path.is_dir() else path.parent if has_config(path) else None
    files = find_files(path) if path.is_dir() else [path]
    tensors: dict[str, Tensor] = {}
    wrapped: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()
    for file in files:
        more, wrapped, besides = read_file(file)
        twice = more.keys() & tensors.keys()
        if twice:
            raise CheckpointError(f"{file} and a file before it both hold {min(twice)}")
        check_weights(more, file)
        tensors |= more
    if not tensors:
        raise CheckpointError(f"{path} holds no weights: it has no tensor")
    config = read_config(folder / CONFIG) if folder else {}
    preprocessor = read_config(folder / PREPROCESSOR) if folder else {}
    return Found(tensors, config, preprocessor, wrapped, besides)


def read_config(path: Path) -> dict[str, Any]:
    """Read a config file; empty if there is none. Raises CheckpointError if it can't be read."""
    if not path.is_file():
        return {}
    try:
        config = json.loads(read_small(path, MAX_CONFIG))
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} can't be read: {str(error)[:200]}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no keys")
    return config


def find_files(folder: Path) -> list[Path]:
    """Find a folder's files of weights, several if it has an index of them; CheckpointError if there are none."""
    for name in FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            parts = read_config(index).get("weight_map")
            names = sorted(set(map(str, parts.values()))) if isinstance(parts, dict) else []
            if not names or len(names) > MAX_FILES:
                raise CheckpointError(f"{index} names {len(names):,} files")
            outside = [part for part in names if part != Path(part).name or part in ("", "..")]
            if outside:
                raise CheckpointError(f"{index} names a file outside its folder: {outside[0]!r:.80}")
            return [folder / part for part in names]
    raise CheckpointError(f"{folder} holds no weights", f"Expected one of {', '.join(FILES)} beside {CONFIG}.")


def read_file(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Read one file: the tensors, what they lay under, and what lay beside them. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            start = file.read(len(OLD_TORCH))
        if start.startswith(ZIP):
            return read_zip(path)
        if start == OLD_TORCH:
            return unwrap(torch.load(path, map_location="cpu", weights_only=True))
        return choose(read_tensors(path))
    except (OSError, SafetensorError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"{path} can't be read: {reason[:200]}", "Was it cut short while it was copied?"
        ) from error
    except Exception as error:  # noqa: BLE001 - torch reports damage with many kinds of errors
        whole = " Of a whole model save the weights alone: torch.save(model.state_dict(), FILE)."
        raise CheckpointError(
            f"{path} can't be read as weights: {explain(error) or type(error).__name__}",
            "It is damaged, or holds more than tensors and plain values, which vit never loads."
            + (whole if is_advice(error) else ""),
        ) from (None if is_advice(error) else error)


def read_zip(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Read an archive of NumPy's or of torch's."""
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith(".npy") for name in archive.namelist()):
            arrays = list_arrays(archive)
            kept, wrapped, besides = choose(dict.fromkeys(arrays))
            full = "".join(wrapped)
            tensors = read_arrays(archive, arrays, [full + name for name in kept])
            return {name.removeprefix(full): tensor for name, tensor in tensors.items()}, wrapped, besides
        check_archive(archive, path.stat().st_size)
    return unwrap(torch.load(path, map_location="cpu", weights_only=True))


def unwrap(content: Any) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Find the tensors of a .pth file under the keys of trainers, and leave beside what is none.

    Raises ValueError if there are no keys at all, or a tensor whose numbers are not all stored.
    """
    under: tuple[str, ...] = ()
    beside: list[str] = []
    while isinstance(content, dict):
        key = next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if key is None or len(under) == len(WRAPPERS):
            break
        beside += [str(name) for name in content if name != key]
        content, under = content[key], (*under, key)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not tensors by name")  # noqa: TRY004
    strange = [name for name, value in content.items() if isinstance(value, Tensor) and not is_plain_tensor(value)]
    if strange:
        raise ValueError(f"the tensor {strange[0]!r:.80} is sparse, quantised or repeated")
    tensors = {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    check_size(tensors)
    beside += [str(name) for name in content if not isinstance(content[name], Tensor)]
    kept, prefixes, more = choose(tensors)
    return kept, under + prefixes, limit([*beside, *more])


def check_size(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for tensors that would take far more memory apart than they share in the file."""
    stored = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in tensors.values())}
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if len(tensors) > MAX_TENSORS or total > MAX_SHARED * sum(stored.values()):
        raise ValueError(f"it has {len(tensors):,} tensors of {total:,} bytes in {sum(stored.values()):,}")


def choose(named: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Keep what lies under a known prefix, without it, if anything does; give the prefixes, and what lay beside."""
    kept, wrapped, beside = dict(named), list[str](), list[str]()
    while True:
        prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in kept)), None)
        if prefix is None or len(wrapped) > len(PREFIXES):
            return kept, tuple(wrapped), limit(beside)
        beside += [name for name in kept if not name.startswith(prefix)]
        kept = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
        wrapped.append(prefix)


def limit(names: Iterable[str]) -> tuple[str, ...]:
    """Name what was left aside by its first part, and only the first few."""
    first = list(dict.fromkeys(f"{name.replace('/', '.').split('.')[0]:.40}" for name in names))
    return (*first[:MAX_BESIDES], *(["more"] if len(first) > MAX_BESIDES else []))
