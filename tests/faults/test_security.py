"""What vit refuses, by the numbers of docs/reliability.md: no code, no network, no file outside, no secret in a log."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image

from tests.faults.conftest import ROOT
from tests.integration.conftest import TINY, Run, is_refused, write_photos
from tests.unit.data.pictures import encode, picture
from vit_cli.checkpoint.file import read_checkpoint, write_checkpoint
from vit_cli.cli.main import app
from vit_cli.data.decode import FORMATS, MAX_PIXELS, BadImage, decode
from vit_cli.errors import CheckpointError, RecipeError, UsageError
from vit_cli.recipe.load import load_recipe
from vit_cli.train.environment import FLOORS, check_versions


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with a dozen pictures each."""
    return write_photos(tmp_path / "photos")


@pytest.fixture
def recipe(tmp_path: Path, photos: Path) -> Path:
    """A recipe of a few steps."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(root=photos, workers=0, steps=4))
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let no connection be made, and tell what was asked for."""
    found: list[object] = []

    def refuse(*address: object, **options: object) -> None:
        found.append(address[:2])
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return found


def all_flags() -> Iterator[str]:
    """Give every option of every verb."""

    def walk(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from parameter.opts
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    yield from walk(typer.main.get_command(app))


class Touch:
    """Unpickling this makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_refusal_01_weights_of_other_programs_and_any_way_to_load_them_unsafely(vit: Run, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "foreign.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("foreign.pth", "module.pt"):
        for command in ("eval", "finetune"):
            assert is_refused(vit(command, tmp_path / name), 4, name)
    flags = set(all_flags())
    assert {"--out", "--res", "--json"} <= flags
    assert not [flag for flag in flags if re.search("pickle|unsafe|trust|weights.only|force", flag)]


def test_refusal_02_a_second_try_and_the_advice_of_torch(
    vit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIT_DEBUG", "")  # which --debug sets, and is unset in the end
    torch.save({"format": "vit checkpoint", "x": Touch(tmp_path / "executed")}, tmp_path / "evil.pt")
    for flags in ([], ["--debug"]):
        result = vit("eval", tmp_path / "evil.pt", *flags)
        assert result.code == 4
        assert "It names posix.mkdir." in result.err
        assert "weights_only" not in result.err
        assert "allowlist" not in result.err
    assert not (tmp_path / "executed").exists()
    sources = "\n".join(path.read_text() for path in (ROOT / "vit_cli").rglob("*.py"))
    loads = re.findall(r"torch\.load\([^)]*\)", sources)
    assert set(loads) == {'torch.load(path, map_location="cpu", weights_only=True)'}
    assert not re.search(r"add_safe_globals|weights_only=False|pickle\.load|np\.load\(", sources)


@pytest.mark.parametrize("stranger", [Touch(Path("x")), torch.nn.Linear(1, 1), np.float64(1), np.zeros(2), {1}, Path()])
def test_refusal_03_anything_but_tensors_and_plain_values_in_a_checkpoint(tmp_path: Path, stranger: object) -> None:
    with pytest.raises(TypeError, match="which no checkpoint may hold"):
        write_checkpoint(tmp_path / "a.pt", {"model": {}, "state": {"x": [stranger]}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "version"),
    [("torch", "2.9.1"), ("torch", "1.13"), ("pillow", "12.2.0"), ("pillow", "9.5"), ("safetensors", "0.7.0")],
)
def test_refusal_04_versions_that_files_are_known_to_break(package: str, version: str) -> None:
    with pytest.raises(UsageError, match=f"{package} {re.escape(version)} is not safe"):
        check_versions({"torch": "2.10.0", "pillow": "12.3.0", "safetensors": "0.8.0"}.__or__({package: version}).get)


def test_refusal_04_allows_the_floors_that_the_package_asks_for() -> None:
    check_versions()
    check_versions({"torch": "2.10.0+cu130", "pillow": "12.3.0", "safetensors": "0.8.0rc1"}.get)
    check_versions({"torch": "3.0.0a0", "pillow": "100.0", "safetensors": "1.0"}.get)
    asked_for = (ROOT / "pyproject.toml").read_text()
    for package, (major, minor) in FLOORS.items():
        assert f'"{package}>={major}.{minor}"' in asked_for


def test_refusal_05_is_that_of_yaml_that_a_recipe_has_no_use_for(tmp_path: Path) -> None:
    for text, words in (
        ("a: &a [1]\n" + "b: *a\n" * 1 + "".join(f"c{i}: *a\n" for i in range(20)), "more than 16 aliases"),
        ("a: 1\na: 2\n", "the same key twice"),
        ("a: !!int 1\n", "tag"),
        ("a: " + "[" * 21 + "]" * 21, "nested more than 20 deep"),
        ("# " + "x" * 1_000_001, "larger than 1 MB"),
        ("model: {name: vit, wdith: 3}\n", "did you mean 'width'"),
    ):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(RecipeError, match=words):
            load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "change",
    [
        "model={_target_: os.system}",
        "model={name: os.system}",
        "model.name=vit_cli.models.vit:Vit",
        "optim={name: torch.optim.Adam}",
        "augment=[{name: 'builtins.eval'}]",
        "data.train={name: webdataset, url: 'pipe:id'}",
        "data.train={name: folder, root: photos, __class__: os.system}",
        "loss={_component_: os.system}",
        "import=[os]",
        "plugin=evil",
    ],
)
def test_refusal_06_names_of_code_in_a_recipe(recipe: Path, change: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe(recipe, [change])


def test_refusal_06_environment_variables_in_a_recipe_stay_text(
    vit: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    monkeypatch.setenv("PLACE", str(photos))
    for text in ("$PLACE", "${PLACE}", "${oc.env:PLACE}", "$(pwd)", "`pwd`", "{{PLACE}}"):
        assert is_refused(vit("train", recipe, f"data.train={{name: folder, root: '{text}'}}"), 3, "is not there")


SCHEMES = ["http://127.0.0.1:9/x", "ftp://host/x", "pipe:touch executed", "s3://bucket/x", "file:///etc/x"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_refusal_07_addresses_and_pipes_in_place_of_paths(
    vit: Run, recipe: Path, tmp_path: Path, asked: list[object], scheme: str
) -> None:
    for source in ("folder, root", "hf, path"):
        assert is_refused(vit("train", recipe, f"data.train={{name: {source}: '{scheme}.parquet'}}"), 3)
        assert is_refused(vit("train", recipe, f"data.train={{name: {source}: '{scheme}'}}"), 3)
    assert is_refused(vit("train", scheme), 2)
    assert is_refused(vit("eval", scheme), 4)
    assert is_refused(vit("finetune", scheme), 4)
    assert is_refused(vit("checkpoint", "hash", scheme), 4)
    assert asked == []
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "runs").exists()


def test_refusal_08_archives_that_unpack_to_more_or_to_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_checkpoint(path, {"model": {"w": torch.zeros(100_000)}, "ema": {}, "about": {}})
    packed = zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=9)
    with zipfile.ZipFile(path) as old, packed as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="is compressed"):
        read_checkpoint(tmp_path / "bomb.pt")
    for name in ("../../escaped", "/etc/escaped", "archive/../../escaped"):
        with zipfile.ZipFile(shutil.copy(path, tmp_path / "b.pt"), "a") as archive:
            archive.writestr(name, "x")
        with pytest.raises(CheckpointError, match="No checkpoint has a member"):
            read_checkpoint(tmp_path / "b.pt")
    assert not list(tmp_path.parent.glob("**/escaped"))


def test_refusal_09_pictures_of_other_formats_and_larger_than_the_limit() -> None:
    assert set(FORMATS) == {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}
    assert MAX_PIXELS == 64_000_000
    Image.init()
    for format in ("PPM", "TGA", "PCX", "ICO", "SGI", "DDS", "JPEG2000", "EPS", "PDF"):
        assert format in Image.SAVE
        with pytest.raises(BadImage, match=r"not an image|unsupported format"):
            decode(encode(picture(0, (8, 8)), format))
    with pytest.raises(BadImage, match="too many pixels: 9x7"):
        decode(encode(picture(0)), max_pixels=62)


def test_refusal_10_arrays_of_numpy_pickled_or_not(vit: Run, tmp_path: Path) -> None:
    objects = np.array([Touch(tmp_path / "executed")], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=objects, allow_pickle=True)
    np.savez_compressed(tmp_path / "bomb.npz", w=np.zeros(10_000_000))
    for name in ("a.npy", "a.npz", "bomb.npz"):
        for command in ("eval", "finetune"):
            assert is_refused(vit(command, tmp_path / name), 4, name)
        with pytest.raises(BadImage):
            decode((tmp_path / name).read_bytes())
    assert not (tmp_path / "executed").exists()


def test_refusal_11_data_sets_that_bring_their_own_code(vit: Run, recipe: Path, tmp_path: Path) -> None:
    for name in ("webdataset", "litdata", "energon", "streaming", "ffcv"):
        assert is_refused(vit("train", recipe, f"data.train={{name: {name}, path: x}}"), 2, "data.train.name")
    with tarfile.open(tmp_path / "shard.tar", "w") as file:
        info = tarfile.TarInfo("../escaped.pkl")
        content = pickle.dumps(Touch(tmp_path / "executed"))
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    assert is_refused(
        vit("train", recipe, f"data.train={{name: folder, root: {tmp_path / 'shard.tar'}}}"), 3, "not a folder"
    )
    assert is_refused(
        vit("train", recipe, f"data.train={{name: hf, path: {tmp_path / 'shard.tar'}}}"), 3, "neither parquet"
    )
    script = tmp_path / "scripted"
    script.mkdir()
    (script / "scripted.py").write_text(f"import os; os.mkdir({str(tmp_path / 'executed')!r})")
    assert is_refused(vit("train", recipe, f"data.train={{name: hf, path: {script}}}"), 3)
    assert not (tmp_path / "executed").exists()
    assert not list(tmp_path.parent.glob("**/escaped*"))


def test_refusal_12_names_that_lead_outside_of_the_run(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "red").rename(photos / "..%2F..%2Fescaped")
    (photos / "blue").rename(photos / "<script>alert(1)<")
    place = tmp_path / "in" / "here"
    result = vit("train", recipe, "--out", place, "-q")
    assert result.code == 0, result.err
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["here"]
    assert "<script>alert(1)" not in (place / "report.html").read_text()
    for name in ("../x", "a/b", "..", "/tmp/x"):
        assert is_refused(vit("train", recipe, "--name", name), 2, "can't be part of a folder's name")


def test_refusal_12_removing_what_a_link_leads_to(vit: Run, recipe: Path, tmp_path: Path) -> None:
    out, outside = tmp_path / "run", tmp_path / "outside"
    (out / "checkpoints").mkdir(parents=True)
    outside.mkdir()
    for name in ("step-000001.pt", "other.pt"):
        (outside / name).write_text("mine")
        (out / "checkpoints" / name).symlink_to(outside / name)
    assert vit("train", recipe, "--out", out, "--overwrite", "save.keep=1", "-q").code == 0
    assert not (out / "checkpoints/step-000001.pt").is_symlink()
    assert [(outside / name).read_text() for name in ("step-000001.pt", "other.pt")] == ["mine", "mine"]


def test_refusal_12_overwriting_checkpoints_in_a_folder_that_a_link_leads_to(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    out, outside = tmp_path / "run", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "step-000001.pt").write_text("mine")
    (out / "checkpoints").symlink_to(outside, target_is_directory=True)
    assert is_refused(vit("train", recipe, "--out", out, "--overwrite"), 2, "checkpoints", "link")
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("step-000001.pt", "mine")]


def test_refusal_13_secrets_in_what_a_run_keeps(recipe: Path, tmp_path: Path) -> None:
    secrets = {
        "HF_TOKEN": "hf_0123456789abcdef",
        "AWS_SECRET_ACCESS_KEY": "aws-0123456789",
        "MY_PASSWORD": "hunter2hunter2",
    }
    environment = os.environ | secrets | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "vit_cli", "train", recipe, "--out", "run", "train.steps=2", "-q"]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=240)
    kept = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(kept) > 10
    for path in kept:
        content = path.read_bytes()
        assert not [name for name, value in secrets.items() if value.encode() in content], path


def test_refusal_13_escapes_in_what_is_shown_and_logged(vit: Run, recipe: Path, photos: Path, tmp_path: Path) -> None:
    evil = tmp_path / "photos\x1b[2J\x1b]0;owned\x07\u202e"
    photos.rename(evil)
    recipe.write_text(recipe.read_text().replace(f"root: {photos}", f"root: {json.dumps(str(evil))}"))
    result = vit("train", recipe, "--out", tmp_path / "run", "train.steps=2")
    assert result.code == 0, result.err
    shown = [result.err, result.out, (tmp_path / "run/train.log").read_text()]
    shown += [vit(*words).out for words in (["eval", "run"], ["checkpoint", "show", "run"], ["eval", "run", "--json"])]
    for path in sorted(evil.rglob("*.jpg"))[:2]:
        shown += [vit("predict", "run", path, "--format", kind).out for kind in ("table", "jsonl")]
    for text in shown:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), text
    assert is_refused(vit("train", recipe, "--name", "x\x1b[31m"), 2, "can't be part of a folder's name")


def test_refusal_14_packages_that_were_malicious_or_run_code_of_data_sets() -> None:
    needed = importlib.metadata.requires("vit-cli") or []
    named = {re.split(r"[ \[><=!;~]", requirement)[0].lower() for requirement in needed}
    assert "torch" in named
    assert named.isdisjoint(
        {"lightning", "pytorch-lightning", "litdata", "webdataset", "megatron-energon", "hydra-core"}
    )


def test_every_verb_is_known_to_these_tests() -> None:
    verbs: Any = typer.main.get_command(app)
    assert {"train", "finetune", "resume", "eval", "predict", "checkpoint", "recipe", "env"} <= set(verbs.commands)
