"""Weights of other makers are read as plain data, and refused with the name of what is wrong with them."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vit_cli.checkpoint.file import write_checkpoint
from vit_cli.checkpoint.foreign import is_foreign, read_foreign
from vit_cli.errors import CheckpointError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4)}


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def pth(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def safe(path: Path) -> Path:
    save_file(TENSORS, path)
    return path


def same(path: Path) -> bool:
    found = read_foreign(path).tensors
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_each_kind_of_file_gives_the_same_tensors(tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    files = [
        npz(tmp_path / "a.npz", **arrays),
        tmp_path / "packed.npz",
        pth(tmp_path / "a.pth", TENSORS),
        tmp_path / "old.pth",
        safe(tmp_path / "a.safetensors"),
    ]
    for file in files:
        assert is_foreign(file), file
        assert same(file), file


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f2", "<f8", "<i8"])
def test_arrays_of_any_order_and_kind(tmp_path: Path, order: Any, kind: str) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=kind, order=order)
    read = read_foreign(npz(tmp_path / "a.npz", a=array)).tensors["a"]
    assert read.shape == (2, 3, 4)
    assert read.tolist() == array.tolist()


def test_two_bytes_without_a_meaning_are_bfloat16(tmp_path: Path) -> None:
    numbers = torch.tensor([[1.5, -2.0], [0.0, 3.25]], dtype=torch.bfloat16)
    read = read_foreign(npz(tmp_path / "a.npz", a=numbers.view(torch.int16).numpy().view("V2"))).tensors["a"]
    assert read.dtype == torch.bfloat16
    assert torch.equal(read, numbers)


@pytest.mark.parametrize(
    ("content", "under", "besides"),
    [
        (TENSORS, (), ()),
        ({"model": TENSORS, "optimizer": {"x": 1}, "epoch": 3}, ("model",), ("optimizer", "epoch")),
        ({"state_dict": {f"module.{name}": t for name, t in TENSORS.items()}}, ("state_dict", "module."), ()),
        (
            {"student": {"c": torch.ones(1)}, "teacher": {f"backbone.{name}": t for name, t in TENSORS.items()}},
            ("teacher", "backbone."),
            ("student",),
        ),
        ({f"module._orig_mod.{name}": t for name, t in TENSORS.items()}, ("module.", "_orig_mod."), ()),
        ({"model": TENSORS | {"args": "none"}}, ("model",), ("args",)),
    ],
)
def test_what_trainers_wrap_around_weights_is_taken_off(
    tmp_path: Path, content: object, under: tuple[str, ...], besides: tuple[str, ...]
) -> None:
    path = pth(tmp_path / "a.pth", content)
    assert same(path)
    found = read_foreign(path)
    assert (found.wrapped, found.besides) == (under, besides)


def test_a_folder_brings_its_configs(tmp_path: Path) -> None:
    safe(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "preprocessor_config.json").write_text('{"size": 224}')
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert is_foreign(path)
        found = read_foreign(path)
        assert (found.config, found.preprocessor) == ({"model_type": "vit"}, {"size": 224})


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_may_have_its_weights_in_parts(tmp_path: Path, name: str) -> None:
    parts = {f"part{i}": {key: TENSORS[key]} for i, key in enumerate(TENSORS)}
    for part, tensors in parts.items():
        save_file(tensors, tmp_path / part) if "safe" in name else torch.save(tensors, tmp_path / part)
    index = {"weight_map": {key: part for part, tensors in parts.items() for key in tensors}}
    (tmp_path / f"{name}.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text("{}")
    assert same(tmp_path)


@pytest.mark.parametrize("part", ["../secret", "/etc/passwd", "a/b", ".."])
def test_an_index_leads_nowhere_else(tmp_path: Path, part: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": part}}))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="outside its folder"):
        read_foreign(tmp_path)


def test_our_own_files_are_not_foreign(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "own.pt", {"model": {}})
    (tmp_path / "config.json").write_text('{"format_version": 1}')
    safe(tmp_path / "model.safetensors")
    assert not is_foreign(tmp_path / "own.pt")
    assert not is_foreign(tmp_path)
    assert not is_foreign(tmp_path / "model.safetensors")
    assert not is_foreign(tmp_path / "absent")


class Bomb:
    """What a pickle does when it is loaded, if it may."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old"])
def test_a_pickle_with_code_does_not_run(tmp_path: Path, is_zip: bool) -> None:
    content = {"model": TENSORS | {"x": Bomb(tmp_path / "run")}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match=r"It names (posix|nt|os)\.mkdir") as told:
        read_foreign(tmp_path / "a.pth")
    assert "weights_only" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_whole_model_is_refused_with_the_way_to_save_its_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"names torch\.nn\.modules\.linear\.Linear") as told:
        read_foreign(pth(tmp_path / "model.pth", torch.nn.Linear(2, 2)))
    assert "torch.save(model.state_dict(), FILE)" in told.value.hint


def test_a_bare_pickle_is_not_even_tried(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Bomb(tmp_path / "run")))
    assert not is_foreign(tmp_path / "a.pth")
    with pytest.raises(CheckpointError):
        read_foreign(tmp_path / "a.pth")
    assert not (tmp_path / "run").exists()


def test_an_environment_variable_does_not_open_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError):
        read_foreign(pth(tmp_path / "a.pth", {"x": Bomb(tmp_path / "run")}))
    assert not (tmp_path / "run").exists()


def test_an_array_of_objects_is_refused_by_name(tmp_path: Path) -> None:
    array = np.array([Bomb(tmp_path / "run")], dtype=object)
    np.savez(tmp_path / "a.npz", **{"fine": np.ones(2), "head/kernel": array})
    with pytest.raises(CheckpointError, match="head/kernel holds Python's objects"):
        read_foreign(tmp_path / "a.npz")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([1 + 2j]), np.array([True]), np.zeros(1, dtype=[("a", "<f4")])]
)
def test_an_array_of_a_strange_kind_is_refused_by_name(tmp_path: Path, array: Any) -> None:
    with pytest.raises(CheckpointError, match="the array x is of a strange kind"):
        read_foreign(npz(tmp_path / "a.npz", x=array))


@pytest.mark.parametrize("write", [npz, None], ids=["npz", "safetensors"])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, write: Callable[..., Path] | None) -> None:
    if write:
        path = npz(tmp_path / "a.npz", fine=np.ones(2), bad=np.array([1.0, np.nan]))
    else:
        path = tmp_path / "a.safetensors"
        save_file({"fine": torch.ones(2), "bad": torch.tensor([1.0, torch.inf])}, path)
    with pytest.raises(CheckpointError, match="the weights bad are not finite"):
        read_foreign(path)


def array_bytes(shape: tuple[int, ...], content: bytes = b"", kind: str = "<f4") -> bytes:
    """An .npy file that claims a shape, whatever follows."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def archive(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("shape", [(10**9, 10**3), (5,), (2**63,)])
def test_an_array_that_claims_more_than_it_holds_is_refused_before_it_is_made(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = archive(tmp_path / "a.npz", {"big.npy": array_bytes(shape, bytes(16))})
    with pytest.raises(CheckpointError, match="the array big is not as large as it says"):
        read_foreign(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    size = 80 * 2**20
    members = {"big.npy": array_bytes((size // 4,), bytes(size))}
    path = archive(tmp_path / "a.npz", members, zipfile.ZIP_DEFLATED)
    members.clear()
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="claim to unpack to"):
        read_foreign(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("name", ["a.txt", "a.pkl", "a"])
def test_an_npz_with_something_else_inside_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.npz", {"b.npy": array_bytes((1,), bytes(4)), name: b"x"})
    with pytest.raises(CheckpointError, match="is no array"):
        read_foreign(path)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("b.npy", array_bytes((1,), bytes(4)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("b.npy", array_bytes((1,), bytes(4)))
    with pytest.raises(CheckpointError, match="two arrays"):
        read_foreign(tmp_path / "a.npz")


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", a=np.ones(1000, dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="can't be read"):
        read_foreign(path)


@pytest.mark.parametrize("content", [[1, 2], torch.ones(2), "text", {}, {"a": 1}, {"model": {"model": {}}}])
def test_a_pth_without_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(CheckpointError):
        read_foreign(pth(tmp_path / "a.pth", content))


@pytest.mark.parametrize("tensor", [torch.ones(1).expand(10**12), torch.zeros(3, device="meta")])
def test_a_tensor_whose_numbers_are_not_all_there_is_named(tmp_path: Path, tensor: torch.Tensor) -> None:
    with pytest.raises(CheckpointError, match="'odd' is sparse, quantised or repeated"):
        read_foreign(pth(tmp_path / "a.pth", {"odd": tensor}))


def test_a_small_file_whose_tensors_share_their_numbers_is_refused(tmp_path: Path) -> None:
    shared = torch.ones(1000)
    with pytest.raises(CheckpointError, match="5 tensors of 20,000 bytes in 4,000"):
        read_foreign(pth(tmp_path / "a.pth", {str(i): shared for i in range(5)}))
    tied = {"embedding": shared, "head": shared}
    assert read_foreign(pth(tmp_path / "tied.pth", tied)).tensors.keys() == tied.keys()


def test_a_header_that_is_no_models_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{" + bytes(100))
    assert is_foreign(path)
    with pytest.raises(CheckpointError, match="header"):
        read_foreign(path)


def test_configs_that_are_no_keys_are_refused(tmp_path: Path) -> None:
    safe(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json holds no keys"):
        read_foreign(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json can't be read"):
        read_foreign(tmp_path)


@pytest.mark.parametrize("kind", ["a.npz", "a.pth", "old.pth", "a.safetensors"])
def test_no_damage_gets_past_the_reader(tmp_path: Path, kind: str) -> None:
    """Files cut short and changed at random are read whole or refused; nothing else happens."""
    arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    path = tmp_path / kind
    if kind == "a.npz":
        npz(path, **arrays)
    elif kind == "a.safetensors":
        safe(path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=kind == "a.pth")
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for trial in range(150):
        content = bytearray(whole)
        if trial % 3 == 0:
            del content[draw.randrange(len(content)) :]
        else:
            for _ in range(draw.choice([1, 1, 4])):
                content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)
        is_foreign(path)
        try:
            read_foreign(path)
        except CheckpointError:
            refused += 1
    assert refused > 50


def write_overlapping(path: Path, members: int) -> None:
    """An .npz whose members share the bytes of one array: the header of each has all later headers as its extra field."""
    memory = io.BytesIO()
    np.save(memory, np.zeros(1000, np.float32))
    content = memory.getvalue()
    names = [f"a{i}.npy".encode() for i in range(members)]
    numbers = (zlib.crc32(content), len(content), len(content))
    headers, starts = b"", []
    for name in reversed(names):
        fixed = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 0, *numbers, len(name), len(headers))
        headers = fixed + name + headers
        starts.append(len(headers))
    directory = b"".join(
        struct.pack(
            "<IHHHHHHIII5HII", 0x02014B50, 20, 20, 0, 0, 0, 0, *numbers, len(name), *[0] * 5, len(headers) - start
        )
        + name
        for name, start in zip(names, reversed(starts), strict=True)
    )
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, members, members, len(directory), len(headers) + len(content), 0)
    path.write_bytes(headers + content + directory + end)


def test_arrays_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    write_overlapping(tmp_path / "one.npz", 1)
    assert read_foreign(tmp_path / "one.npz").tensors["a0"].shape == (1000,)
    write_overlapping(tmp_path / "many.npz", 100)
    with pytest.raises(CheckpointError, match="members claim to be larger than the file"):
        read_foreign(tmp_path / "many.npz")
