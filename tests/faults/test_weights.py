"""The matrix's checkpoints and weights (K): strange, damaged or hostile, they are refused by name, and nothing in them runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.faults.conftest import Shell
from tests.integration.conftest import TINY, Result, Run, is_refused, write_photos
from vit_cli.checkpoint.file import FORMAT, FORMAT_VERSION, MAX_MEMBERS, digest, read_checkpoint, write_checkpoint
from vit_cli.checkpoint.model import CONFIG, WEIGHTS, open_model
from vit_cli.errors import CheckpointError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ten steps with checkpoints after 4, 8 and 10, and the recipe and pictures beside it."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = folder / "tiny.yaml"
    recipe.write_text(TINY.format(root=write_photos(folder / "photos"), workers=0, steps=10))
    words = [sys.executable, "-m", "vit_cli", "train", "tiny.yaml", "--out", "run", "-q", "save.keep=3"]
    subprocess.run(words, cwd=folder, check=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return shutil.copytree(trained / "run", tmp_path / "run", symlinks=True)


def says_no(result: Result, *words: str) -> bool:
    """Tell whether weights were refused in one message with these words, and without advice to load them all the same."""
    return is_refused(result, 4, *words) and "weights_only" not in result.err


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Write a checkpoint once more, edited, with right checksums."""
    content = read_checkpoint(path)
    edit(content)
    write_checkpoint(path, content)


# What does not fit


@pytest.mark.case("K1")
def test_weights_for_other_classes_are_refused_with_both_shapes(vit: Run, run: Path) -> None:
    config = run / "model" / CONFIG
    about = json.loads(config.read_text())
    config.write_text(json.dumps(about | {"class_names": [*about["class_names"], "white"]}))
    assert says_no(vit("eval", run / "model"), "head", "3x32 in the file, 4x32 in the model")


@pytest.mark.case("K1")
def test_a_head_for_other_classes_is_replaced_or_refused_as_the_recipe_says(
    vit: Run, trained: Path, tmp_path: Path
) -> None:
    more = write_photos(tmp_path / "more", per_class=4)
    shutil.copytree(more / "red", more / "white")
    words = [
        "finetune",
        trained / "run",
        "--data",
        more,
        "train.epochs=1",
        "train.batch_size=4",
        "--out",
        tmp_path / "f",
    ]
    assert says_no(vit(*words, "finetune.head=keep"), "it is for 3 classes, the data has 4")
    done = vit(*words)
    assert done.code == 0, done.err
    assert "head  replaced (3 -> 4 classes, zero-initialised)" in done.err


@pytest.mark.case("K2")
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda w: w.pop("norm.weight"), "norm.weight: missing"),
        (lambda w: w.update(extra=torch.zeros(2)), "extra: unexpected"),
        (lambda w: [w.update({f"module.{k}": w.pop(k)}) for k in list(w)], "module.norm.weight: unexpected"),
        (lambda w: [w.update({f"_orig_mod.{k}": w.pop(k)}) for k in list(w)], "norm.weight: missing"),
        (lambda w: w.clear(), "norm.weight: missing"),
    ],
)
def test_weights_by_other_names_are_refused_by_name(vit: Run, run: Path, edit: Callable[..., Any], words: str) -> None:
    weights = load_file(run / "model" / WEIGHTS)
    edit(weights)
    save_file(weights, run / "model" / WEIGHTS)
    result = vit("eval", run / "model")
    assert says_no(result, "the weights do not fit the model")
    assert words in result.err or "more" in result.err
    assert "missing" in result.err or "unexpected" in result.err


@pytest.mark.case("K8")
def test_bf16_weights_are_evaluated_like_the_float32_ones_they_were_rounded_from(vit: Run, run: Path) -> None:
    rounded = {name: tensor.bfloat16() for name, tensor in load_file(run / "model" / WEIGHTS).items()}
    save_file({name: tensor.float() for name, tensor in rounded.items()}, run / "model" / WEIGHTS)
    wide = json.loads(vit("eval", run / "model", "--json").out)
    save_file(rounded, run / "model" / WEIGHTS)
    narrow = json.loads(vit("eval", run / "model", "--json").out)
    assert narrow["loss"] == wide["loss"]


@pytest.mark.case("K3", "K8")
def test_whole_numbers_in_place_of_weights_are_refused_by_name(vit: Run, run: Path) -> None:
    weights = load_file(run / "model" / WEIGHTS)
    weights["norm.weight"] = weights["norm.weight"].long()
    save_file(weights, run / "model" / WEIGHTS)
    assert says_no(vit("eval", run / "model"), "norm.weight: torch.int64 in the file, torch.float32 in the model")


@pytest.mark.case("K8")
def test_weights_of_another_size_are_stretched_or_refused(vit: Run, run: Path) -> None:
    stretched = vit("eval", run, "--res", 64)
    assert stretched.code == 0, stretched.err
    assert "positions  4x4 -> 8x8" in stretched.err
    config = run / "model" / CONFIG
    config.write_text(config.read_text().replace('"depth": 2', '"depth": 3'))
    assert says_no(vit("eval", run / "model"), "blocks.2.", "missing")


@pytest.mark.case("N6")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_not_evaluated(vit: Run, run: Path, value: float) -> None:
    weights = load_file(run / "model" / WEIGHTS)
    weights["norm.weight"][3] = value
    save_file(weights, run / "model" / WEIGHTS)
    assert says_no(vit("eval", run / "model"), "the weights norm.weight are not finite")
    newest = run / "checkpoints/step-000010.pt"
    change(newest, lambda content: content["ema"]["norm.weight"].fill_(value))
    for words in (["eval", newest], ["finetune", newest], ["predict", newest, newest]):
        assert says_no(vit(*words), "the weights norm.weight are not finite")


# Damage


@pytest.mark.case("K6")
def test_a_flipped_bit_in_a_checkpoint_is_found_and_the_one_before_it_is_used(
    vit: Run, shell: Shell, run: Path, trained: Path
) -> None:
    newest = run / "checkpoints/step-000010.pt"
    whole = bytearray(newest.read_bytes())
    whole[len(whole) // 2] ^= 16
    newest.write_bytes(whole)
    assert says_no(vit("eval", newest), "step-000010.pt", "checksum")
    resumed = shell("resume", run)
    assert resumed.code == 0, resumed.err
    assert "step-000010.pt can't be read" in resumed.err
    assert read_checkpoint(newest)["state"]["step"] == 10
    assert digest(read_checkpoint(newest)) == digest(read_checkpoint(trained / "run/checkpoints/step-000010.pt"))


@pytest.mark.case("K7")
def test_of_two_damaged_checkpoints_the_third_is_used_and_of_three_none(vit: Run, run: Path) -> None:
    for step in (10, 8):
        path = run / f"checkpoints/step-{step:06d}.pt"
        path.write_bytes(path.read_bytes()[:-100])
    shown = vit("checkpoint", "show", run)
    assert shown.code == 0
    assert "step-000010.pt" in shown.err
    assert "step-000008.pt" in shown.err
    assert "step-000004.pt" in shown.out
    (run / "checkpoints/step-000004.pt").write_bytes(b"")
    assert says_no(vit("resume", run), "none of the 3 checkpoints")
    assert says_no(vit("checkpoint", "hash", run), "none of the 3 checkpoints")


# Safetensors


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Write a file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, stop: int, dtype: str = "F32", shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "seven bytes": lambda: b"1234567",
    "cut in the header": lambda: safetensors({"w": entry(0, 4)}, b"1234")[:20],
    "cut in the data": lambda: safetensors({"w": entry(0, 400)}, bytes(300)),
    "a header of 2^63": lambda: safetensors({"w": entry(0, 4)}, b"1234", 2**63),
    "a header of 2^64 - 1": lambda: safetensors({"w": entry(0, 4)}, b"1234", 2**64 - 1),
    "a header of 90 MB of blanks": lambda: safetensors(b"{" + b" " * 90_000_000 + b"}"),
    "200,000 entries": lambda: safetensors({f"w{i}": entry(4 * i, 4 * i + 4) for i in range(200_000)}, bytes(800_000)),
    "30,000 entries": lambda: safetensors({f"w{i}": entry(4 * i, 4 * i + 4) for i in range(30_000)}, bytes(120_000)),
    "overlapping offsets": lambda: safetensors({"w": entry(0, 8), "v": entry(4, 12)}, bytes(12)),
    "a hole": lambda: safetensors({"w": entry(0, 4), "v": entry(8, 12)}, bytes(12)),
    "a dtype that there is not": lambda: safetensors({"w": entry(0, 8, "F99", [2])}, bytes(8)),
    "a dtype of another size": lambda: safetensors({"w": entry(0, 8, "F64", [2])}, bytes(8)),
    "numbers of eight bits": lambda: safetensors({"w": entry(0, 8, "I8", [8])}, bytes(8)),
    "complex numbers": lambda: safetensors({"w": entry(0, 8, "C64", [1])}, bytes(8)),
    "a negative shape": lambda: safetensors({"w": entry(0, 4, shape=[-1])}, bytes(4)),
    "a shape beyond the memory": lambda: safetensors({"w": entry(0, 4, shape=[2**40, 2**40])}, bytes(4)),
    "a shape that is not there": lambda: safetensors({"w": entry(0, 4, shape=[2**40])}, bytes(4)),
    "deep nesting": lambda: safetensors(b'{"a":' * 100_000 + b"}" * 100_000),
    "a pickle": lambda: pickle.dumps({"w": [1, 2]}),
}


@pytest.mark.case("K3")
@pytest.mark.parametrize("kind", HOSTILE)
def test_safetensors_that_are_none_are_refused_soon_and_in_little_memory(vit: Run, run: Path, kind: str) -> None:
    content = HOSTILE[kind]()
    (run / "model" / WEIGHTS).write_bytes(content)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(CheckpointError, match=r"model"):
        open_model(run / "model")
    assert time.monotonic() - begin < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"
    assert says_no(vit("eval", run / "model"), "model")


# What would run


class Runs:
    """Unpickling this calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def wrapped(evil: object) -> dict[str, Any]:
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "model": {}, "ema": {}, "about": evil}


def saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def zipped(content: bytes, **more: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        for name, text in more.items():
            archive.writestr(f"archive/{name}", text)
    return file.getvalue()


EVIL: dict[str, Callable[[Path], bytes]] = {
    "os.mkdir in a bare pickle": lambda marker: pickle.dumps(Runs(os.mkdir, str(marker))),
    "os.mkdir in a file of torch": lambda marker: saved(wrapped(Runs(os.mkdir, str(marker)))),
    "os.mkdir in an old file of torch": lambda marker: saved(
        wrapped(Runs(os.mkdir, str(marker))), _use_new_zipfile_serialization=False
    ),
    "os.mkdir in a zip made by hand": lambda marker: zipped(pickle.dumps(Runs(os.mkdir, str(marker)), protocol=2)),
    "eval": lambda marker: saved(wrapped(Runs(eval, f"__import__('os').mkdir({str(marker)!r})"))),
    "exec": lambda marker: saved(wrapped(Runs(exec, f"import os; os.mkdir({str(marker)!r})"))),
    "a pickle inside of torch's loader of bytes": lambda marker: saved(
        wrapped(
            Runs(
                torch.storage._load_from_bytes, saved(Runs(os.mkdir, str(marker)), _use_new_zipfile_serialization=False)
            )
        )
    ),
    "torch.load by name": lambda marker: saved(wrapped(Runs(torch.load, str(marker)))),
}
COMMANDS = [["eval"], ["finetune"], ["predict"], ["checkpoint", "show"], ["checkpoint", "hash"]]


@pytest.mark.case("K4")
@pytest.mark.parametrize("kind", EVIL)
def test_a_pickle_that_would_run_code_runs_none_in_any_command(
    vit: Run, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, marker = tmp_path / "evil.pth", tmp_path / "executed"
    path.write_bytes(EVIL[kind](marker))
    for command in COMMANDS:
        assert says_no(vit(*command, path, *([path] if command == ["predict"] else [])), "evil.pth")
    assert not marker.exists()


@pytest.mark.case("K4")
def test_the_pickles_of_these_tests_would_have_run_their_code(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    for kind in EVIL.keys() - {"torch.load by name"}:
        path = tmp_path / kind
        path.write_bytes(EVIL[kind](marker))
        if "bare" in kind:
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
        assert marker.is_dir(), kind
        marker.rmdir()


@pytest.mark.case("K4")
def test_a_hostile_checkpoint_in_a_run_is_not_run_by_resume(vit: Run, run: Path, tmp_path: Path) -> None:
    for path in (run / "checkpoints").glob("step-*.pt"):
        path.write_bytes(EVIL["os.mkdir in a file of torch"](tmp_path / "executed"))
    assert says_no(vit("resume", run), "none of the 3 checkpoints")
    assert not (tmp_path / "executed").exists()


@pytest.mark.case("K4")
@pytest.mark.parametrize(
    "name", ["code/evil.py", "evil.py", "../evil", "../../etc/cron.d/evil", "/etc/evil", "constants.pkl", "data/0.so"]
)
def test_a_checkpoint_with_something_more_in_its_zip_is_refused(vit: Run, run: Path, name: str) -> None:
    path = run / "checkpoints/step-000010.pt"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name if name.startswith("/") else f"archive/{name}", "import os")
    assert says_no(vit("eval", path), "No checkpoint has a member")


def test_a_compressed_a_doubled_and_an_overcrowded_zip_are_refused(trained: Path, tmp_path: Path) -> None:
    source, path = trained / "run/checkpoints/step-000010.pt", tmp_path / "a.pt"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError, match="is compressed"):
        read_checkpoint(path)
    shutil.copy(source, path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", b"another")
    with pytest.raises(CheckpointError, match="two members of one name"):
        read_checkpoint(path)
    begin = time.monotonic()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(MAX_MEMBERS + 1):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{number}"), b"")
    made = time.monotonic()
    with pytest.raises(CheckpointError, match="members"):
        read_checkpoint(path)
    assert time.monotonic() - made < max(5, made - begin)


def test_a_small_file_that_stands_for_endless_values_is_refused_soon(tmp_path: Path) -> None:
    bomb: list[Any] = [1.0]
    for _ in range(30):
        bomb = [bomb] * 10
    endless: list[Any] = []
    endless.append(endless)
    begin = time.monotonic()
    for content in (bomb, endless):
        (tmp_path / "bomb.pt").write_bytes(saved(wrapped({"model": content})))
        assert (tmp_path / "bomb.pt").stat().st_size < 10_000
        with pytest.raises(CheckpointError, match=r"values|deep"):
            read_checkpoint(tmp_path / "bomb.pt")
    assert time.monotonic() - begin < 10


HOLLOW: dict[str, Callable[[], torch.Tensor]] = {
    "repeated": lambda: torch.zeros(1).expand(10**12),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "an empty shell": lambda: torch.empty(10**12, device="meta"),
}


@pytest.mark.parametrize("kind", HOLLOW)
def test_a_tensor_of_which_not_every_number_is_stored_is_neither_written_nor_read(tmp_path: Path, kind: str) -> None:
    tensor = HOLLOW[kind]()
    path = tmp_path / "a.pt"
    content = wrapped({"x": 1}) | {"model": {"w": tensor}}
    with pytest.raises(TypeError, match="which no checkpoint may hold"):
        write_checkpoint(path, content)
    path.write_bytes(saved(content))
    with pytest.raises(CheckpointError, match="holds more than tensors and plain values"):
        read_checkpoint(path)


@pytest.mark.case("K5")
def test_a_distributed_checkpoint_is_refused_unopened(vit: Run, tmp_path: Path) -> None:
    folder, marker = tmp_path / "dcp", tmp_path / "executed"
    folder.mkdir()
    (folder / ".metadata").write_bytes(pickle.dumps(Runs(os.mkdir, str(marker))))
    (folder / "__0_0.distcp").write_bytes(EVIL["os.mkdir in a file of torch"](marker))
    assert says_no(vit("eval", folder), "holds no model", "a distributed checkpoint of torch")
    for path in (folder, folder / ".metadata", folder / "__0_0.distcp"):
        for command in COMMANDS:
            assert says_no(vit(*command, path, *([path] if command == ["predict"] else [])), path.name)
    assert vit("resume", folder).code == 2
    assert not marker.exists()


def test_a_checkpoint_of_vit_names_nothing_but_tensors_and_plain_containers(trained: Path) -> None:
    with zipfile.ZipFile(trained / "run/checkpoints/step-000010.pt") as archive:
        operations = list(pickletools.genops(archive.read("archive/data.pkl")))
    named = {argument for operation, argument, _ in operations if operation.name in ("GLOBAL", "STACK_GLOBAL")}
    assert "torch._utils _rebuild_tensor_v2" in named
    assert named <= {
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "torch LongStorage",
        "collections OrderedDict",
    }
