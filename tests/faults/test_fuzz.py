"""Whatever bytes a recipe, a checkpoint, weights or a picture hold: one error of vit's, or a right result, and soon."""

from __future__ import annotations

import io
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit.data.pictures import encode, picture
from vit_cli.checkpoint.facts import describe_content, read_whole
from vit_cli.checkpoint.file import write_checkpoint
from vit_cli.checkpoint.model import CONFIG, WEIGHTS, open_model, write_model
from vit_cli.data.decode import BadImage, decode
from vit_cli.errors import CheckpointError, RecipeError, UsageError
from vit_cli.recipe.find import shipped_recipes
from vit_cli.recipe.load import load_any

fuzz = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

Edit = tuple[int, int, bytes]
"""What is changed in some bytes: from where (counted from the end if negative), how many go, what comes instead."""

EDITS = st.lists(
    st.tuples(
        st.integers(0, 300) | st.integers(-300, -1) | st.integers(0, 10_000),
        st.integers(0, 3) | st.integers(0, 10_000),
        st.binary(max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """Make the changes."""
    for start, length, new in edits:
        at = start % (len(data) + 1)
        data = data[:at] + new + data[at + length :]
    return data


# Recipes

RECIPES = {name: path.read_text(encoding="utf-8") for name, path in shipped_recipes().items()}
WORDS = [
    ":",
    " ",
    "\n",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "&a",
    "*a",
    "!!",
    "|",
    ">",
    "'",
    '"',
    "#",
    "<<:",
    "\t",
    "1e999",
    "-1",
    "0x",
]
KEYS = ["model", "data", "data.train", "data.val", "augment", "mix", "loss", "optim", "schedule", "train", "train.ema"]
KEYS += ["model.res", "optim.lr", "data.train.name", "finetune.weights", "augment.0", "eval.every", "train.epochs"]


def check_recipe(folder: Path, content: bytes) -> None:
    path = folder / "fuzz.yaml"
    path.write_bytes(content)
    with suppress(RecipeError):
        load_any(str(path), ())


@fuzz
@given(st.binary(max_size=200) | st.lists(st.sampled_from(WORDS) | st.text(max_size=5)).map("".join).map(str.encode))
def test_any_text_is_a_recipe_or_an_error_of_the_recipe(tmp_path: Path, content: bytes) -> None:
    check_recipe(tmp_path, content)


@fuzz
@given(
    st.sampled_from(sorted(RECIPES)),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), st.sampled_from(WORDS) | st.text(max_size=3))),
)
def test_any_change_of_a_recipe_is_a_recipe_or_an_error_of_the_recipe(
    tmp_path: Path, name: str, edits: list[tuple[int, int, str]]
) -> None:
    text = RECIPES[name]
    for start, length, new in edits:
        at = start % (len(text) + 1)
        text = text[:at] + new + text[at + length :]
    check_recipe(tmp_path, text.encode("utf-8", "surrogatepass"))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@fuzz
@given(
    st.sampled_from(sorted(RECIPES)),
    st.sampled_from(KEYS),
    PLAIN.map(repr) | st.text(max_size=20),
)
def test_any_value_for_any_key_is_a_recipe_or_an_error_of_the_recipe(name: str, key: str, value: str) -> None:
    plain = {}
    with suppress(RecipeError, UsageError):
        plain = load_any(name, (f"{key}={value}",)).model_dump(mode="json")
    assert not plain or key.partition(".")[0] in plain


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small checkpoint with everything that a real one has."""
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    about = {"model": {"name": "vit"}, "res": [8, 8], "class_names": ["cat", "dog"], "preprocess": {"crop": 0.9}}
    content: dict[str, Any] = {
        "model": net.state_dict(),
        "ema": {name: tensor.bfloat16() for name, tensor in net.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "state": {"step": 3, "best": None, "best_score": 12.5, "best_step": 2, "finished": False},
        "about": about,
        "clock": {"seconds": 1.5},
    }
    path = tmp_path_factory.mktemp("checkpoint") / "a.pt"
    write_checkpoint(path, content)
    return path.read_bytes()


def check_checkpoint(folder: Path, content: bytes) -> None:
    path = folder / "fuzz.pt"
    path.write_bytes(content)
    try:
        open_model(path)
        describe_content(*read_whole(path))
    except CheckpointError as error:
        assert str(path) in error.problem  # noqa: PT017
        assert "weights_only" not in str(error)  # noqa: PT017


@fuzz
@given(EDITS)
def test_any_change_of_a_checkpoint_is_a_checkpoint_or_an_error_of_it(
    tmp_path: Path, checkpoint: bytes, edits: list[Edit]
) -> None:
    check_checkpoint(tmp_path, edited(checkpoint, edits))


@fuzz
@given(st.integers(0, 10_000))
def test_a_checkpoint_cut_anywhere_is_an_error_of_it(tmp_path: Path, checkpoint: bytes, length: int) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(checkpoint[: length % len(checkpoint)])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        open_model(path)


@settings(fuzz, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 2), st.sampled_from(
    [bytes([code]) for code in b"(.0125FGIJKLMNQRTUVX]}abcdehijlqrstu\x81\x85\x86\x87\x8a\x94"]) | st.binary(max_size=2)),
    min_size=1, max_size=3))  # fmt: skip
def test_any_change_of_its_pickle_with_the_right_checksum_is_no_more_than_that(
    tmp_path: Path, checkpoint: bytes, edits: list[Edit]
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            is_pickle = name.endswith("data.pkl")
            new.writestr(name, edited(old.read(name), edits) if is_pickle else old.read(name))
    check_checkpoint(tmp_path, content.getvalue())


# Weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    about = {"model": {"name": "vit"}, "res": [8, 8], "class_names": ["cat", "dog"], "preprocess": {"crop": 0.9}}
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, {"w": torch.ones(3, 4), "b": torch.zeros(4).bfloat16()}, about)
    return folder


def check_folder(folder: Path) -> None:
    try:
        describe_content(*read_whole(folder))
    except CheckpointError as error:
        assert str(folder) in error.problem  # noqa: PT017


@fuzz
@given(EDITS, st.integers(-20, 20))
def test_any_change_of_safetensors_is_weights_or_an_error_of_them(
    tmp_path: Path, weights: Path, edits: list[Edit], growth: int
) -> None:
    whole = (weights / WEIGHTS).read_bytes()
    header = int.from_bytes(whole[:8], "little")
    (tmp_path / CONFIG).write_bytes((weights / CONFIG).read_bytes())
    for content in (
        edited(whole, edits),
        struct.pack("<Q", max(0, header + growth)) + edited(whole[8 : 8 + header], edits) + whole[8 + header :],
    ):
        (tmp_path / WEIGHTS).write_bytes(content)
        check_folder(tmp_path)


@fuzz
@given(EDITS)
def test_any_change_of_a_config_is_a_config_or_an_error_of_it(tmp_path: Path, weights: Path, edits: list[Edit]) -> None:
    (tmp_path / CONFIG).write_bytes(edited((weights / CONFIG).read_bytes(), edits))
    (tmp_path / WEIGHTS).write_bytes((weights / WEIGHTS).read_bytes())
    check_folder(tmp_path)


# Pictures

SMOOTH = picture(1, (5, 4)).resize((40, 30), Image.Resampling.BICUBIC)
TURNED = Image.Exif()
TURNED[0x0112] = 6
PICTURES = {
    "jpeg": encode(SMOOTH, "JPEG"),
    "progressive jpeg with exif": encode(SMOOTH, "JPEG", progressive=True, exif=TURNED),
    "cmyk jpeg": encode(SMOOTH.convert("CMYK"), "JPEG"),
    "png": encode(SMOOTH),
    "palette png": encode(SMOOTH.convert("P"), transparency=b"\0\1"),
    "16-bit png": encode(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)),
    "animated png": encode(SMOOTH, save_all=True, append_images=[picture(2, (40, 30))]),
    "gif": encode(SMOOTH, "GIF", save_all=True, append_images=[picture(2, (40, 30))]),
    "webp": encode(SMOOTH, "WEBP", exif=TURNED),
    "lossless webp": encode(SMOOTH.convert("RGBA"), "WEBP", lossless=True),
    "tiff": encode(SMOOTH, "TIFF", exif=TURNED),
    "deflated tiff": encode(SMOOTH, "TIFF", compression="tiff_deflate"),
    "lzw tiff": encode(SMOOTH, "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encode(SMOOTH, "TIFF", compression="jpeg"),
    "fax tiff": encode(SMOOTH.convert("1"), "TIFF", compression="group4"),
    "bmp": encode(SMOOTH, "BMP"),
    "palette bmp": encode(SMOOTH.convert("P"), "BMP"),
}


@pytest.mark.parametrize("kind", PICTURES)
@fuzz
@given(EDITS)
def test_any_change_of_a_picture_is_a_picture_or_a_bad_one(kind: str, edits: list[Edit]) -> None:
    try:
        pixels = decode(edited(PICTURES[kind], edits), max_pixels=1_000_000)
    except BadImage as error:
        assert error.reason.isprintable()  # noqa: PT017
    else:
        assert pixels.dtype == torch.uint8
        assert pixels.shape[0] == 3
        assert 0 < pixels[0].numel() <= 1_000_000


SIGNATURES = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0", b"BM"]


@fuzz
@given(st.binary(max_size=60), st.sampled_from(SIGNATURES))
def test_any_bytes_behind_any_signature_are_a_bad_picture(content: bytes, start: bytes) -> None:
    with pytest.raises(BadImage):
        decode(start + content, max_pixels=1_000_000)
