"""The matrix's recipes and commands (C): what is wrong is said with its line, at once, and nothing is done."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path

import pytest

from tests.integration.conftest import TINY, Run, is_refused, write_photos
from vit_cli.errors import RecipeError
from vit_cli.recipe.load import load_recipe


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


def line_of(recipe: Path, text: str) -> str:
    """Give `file:line` of the first line that holds a text."""
    lines = recipe.read_text().splitlines()
    return f"{recipe.name}:{1 + next(i for i, line in enumerate(lines) if text in line)}"


@pytest.mark.case("C1")
@pytest.mark.parametrize(
    ("key", "typo", "words"),
    [
        ("lr:", "lerning_rate:", "optim.lerning_rate  unknown key"),
        ("batch_size:", "batchsize:", "did you mean 'batch_size'?"),
        ("ema:", "emma:", "did you mean 'ema'?"),
        ("optim:", "optimizer:", "optimizer  unknown key"),
    ],
)
def test_an_unknown_key_is_named_with_its_line(vit: Run, recipe: Path, key: str, typo: str, words: str) -> None:
    recipe.write_text(recipe.read_text().replace(key, typo, 1))
    assert is_refused(vit("train", recipe), 2, words, line_of(recipe, typo))


@pytest.mark.case("C2")
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch_size: 8", "batch_size: many", "expected a whole number"),
        ("batch_size: 8", "batch_size: 0", "train.batch_size"),
        ("batch_size: 8", "batch_size: -8", "train.batch_size"),
        ("batch_size: 8", "batch_size: 8.5", "expected a whole number"),
        ("batch_size: 8", "batch_size: null", "train.batch_size"),
        ("lr: 2e-3", "lr: .nan", "optim.lr"),
        ("lr: 2e-3", "lr: -1", "optim.lr"),
        ("drop_path: 0.1", "drop_path: 1.5", "model.drop_path"),
        ("{decay: 0.9}", "[1, 2]", "train.ema"),
        ("every: 4 steps", "every: 4 parsecs", "eval.every"),
        ("name: adamw", "name: adamv", "did you mean 'adamw'?"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_line(
    vit: Run, recipe: Path, old: str, new: str, words: str
) -> None:
    recipe.write_text(recipe.read_text().replace(old, new, 1))
    assert is_refused(vit("train", recipe), 2, words, line_of(recipe, new))


@pytest.mark.case("C2")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n# nothing\n", "is empty"),
        (b"- model\n- data\n", "it holds a list"),
        (b"model:\n\tname: vit\n", "tiny.yaml:2  a tab; YAML is indented with spaces"),
        (b"model: {name: vit}\n# caf\xe9\n", "tiny.yaml:2  not UTF-8"),
        (b"model: {name: vit}\x00", "tiny.yaml:1"),
        (b"%PDF-1.7 \x93\xff", "not UTF-8"),
        (b"model: {name: vit\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(vit: Run, recipe: Path, content: bytes, words: str) -> None:
    recipe.write_bytes(content)
    assert is_refused(vit("train", recipe), 2, words)


@pytest.mark.case("C2")
def test_a_byte_order_mark_and_the_line_ends_of_windows_change_nothing(recipe: Path) -> None:
    plain = load_recipe(recipe).recipe
    recipe.write_bytes(b"\xef\xbb\xbf" + recipe.read_bytes().replace(b"\n", b"\r\n"))
    assert load_recipe(recipe).recipe == plain


@pytest.mark.case("C3")
@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001", "+1e-4", "1e-04"])
def test_a_learning_rate_in_any_notation_is_that_number(recipe: Path, text: str) -> None:
    recipe.write_text(recipe.read_text().replace("lr: 2e-3", f"lr: {text}"))
    assert load_recipe(recipe).recipe.optim.lr == 1e-4
    assert load_recipe(recipe, [f"optim.lr={text}"]).recipe.optim.lr == 1e-4


@pytest.mark.case("C4")
def test_a_key_given_twice_is_refused_and_words_stay_words(vit: Run, recipe: Path) -> None:
    text = recipe.read_text()
    recipe.write_text(text + "optim: {name: sgd}\n")
    assert is_refused(vit("train", recipe), 2, "the same key twice", "optim")
    for word in ("no", "off", "yes", "12:30"):
        recipe.write_text(text.replace("precision: fp32", f"deterministic: {word}"))
        assert is_refused(vit("train", recipe), 2, "train.deterministic", "expected true or false")
    recipe.write_text(text.replace("batch_size: 8", "batch_size: 08"))
    assert load_recipe(recipe).recipe.train.batch_size == 8


BOMBS = {
    "aliases": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
    "a few aliases of much": "a: &a [" + "x, " * 9000 + "]\nb: [*a, *a, *a, *a]\n",
    "merge keys": "a: &a {b: 1}\nc: {<<: *a}\n",
    "depth in brackets": "a: " + "[" * 10_000,
    "depth in braces": "a: " + "{a: " * 10_000,
    "depth in lines": "".join(" " * i + "a:\n" for i in range(1000)),
    "an object": "a: !!python/object/apply:os.mkdir [executed]\n",
    "a name of Python": "a: !!python/name:os.system\n",
    "a module": "!!python/module:antigravity\n",
    "a tag of one's own": "a: !include /etc/passwd\n",
    "a long number": f"a: {'9' * 100_000}\n",
    "many values": "a: [" + "1, " * 300_000 + "]\n",
}


@pytest.mark.case("C5")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_hostile_recipe_is_refused_soon_in_little_memory_and_runs_nothing(
    recipe: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe.write_text(BOMBS[kind])
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(RecipeError):
        load_recipe(recipe)
    assert time.process_time() - begin < 3  # unrefused, the bombs would take hours
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB"
    assert not (tmp_path / "executed").exists()


@pytest.mark.case("C5")
def test_a_recipe_of_two_hundred_megabytes_is_not_read(vit: Run, recipe: Path) -> None:
    with recipe.open("r+b") as file:
        file.truncate(200_000_000)
    begin = time.process_time()
    assert is_refused(vit("recipe", "check", recipe), 2, "larger than 1 MB")
    assert time.process_time() - begin < 2


@pytest.mark.case("C6")
def test_a_size_that_patches_do_not_divide_is_refused_with_the_nearest_ones(vit: Run, recipe: Path) -> None:
    assert is_refused(
        vit("train", recipe, "model.res=30"), 2, "30 is not a multiple of patch 8; the nearest are 24 and 32"
    )
    assert is_refused(
        vit("train", recipe, "model.patch=7"), 2, "32 is not a multiple of patch 7; the nearest are 28 and 35"
    )
    assert is_refused(vit("train", recipe, "model.res=[32, 30]"), 2, "30 is not a multiple of patch 8")
    assert is_refused(vit("train", recipe, "model.patch=64"), 2, "64")


@pytest.mark.case("C7")
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        (("train.batch_size=7", "mix.mixup=0.8"), 4),
        (("train.batch_size=1", "mix.mixup=0.8"), 4),
        (("train.batch_size=5", "train.micro_batch=2"), 4),
        (("train.batch_size=29",), 2),
    ],
)
def test_odd_batches_and_batches_of_one_train_with_mixing_to_the_last_or_are_refused_at_once(
    vit: Run, recipe: Path, tmp_path: Path, changes: tuple[str, ...], steps: int
) -> None:
    result = vit("train", recipe, *changes, f"train.steps={steps}", "--out", tmp_path / "run", "-q")
    if result.code == 0:
        assert len((tmp_path / "run/steps.jsonl").read_text().splitlines()) == steps
    else:
        assert is_refused(result, 2, "batch")
        assert not (tmp_path / "run").exists(), "refused before anything was done"


@pytest.mark.case("C8")
def test_a_place_that_is_taken_is_left_alone_and_overwriting_spares_what_is_not_of_a_run(
    vit: Run, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert vit("train", recipe, "--out", out, "-q").code == 0
    mine = {out / "notes.txt": "mine", out / "checkpoints/mine.bin": "mine", out / "model/notes.md": "mine"}
    for path, text in mine.items():
        path.write_text(text)
    assert is_refused(vit("train", recipe, "--out", out), 2, "is not empty", "--overwrite")
    assert vit("train", recipe, "--out", out, "--overwrite", "-q").code == 0
    assert {path: path.read_text() for path in mine} == mine


@pytest.mark.case("C8")
def test_a_link_to_an_empty_folder_is_a_place_like_any_other(vit: Run, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert vit("train", recipe, "--out", tmp_path / "link", "-q").code == 0
    assert (tmp_path / "real/summary.json").is_file()


@pytest.mark.case("C8")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "x" * 300), "too long"),
        (("--out", "a/" * 2500 + "run"), "too long"),
        (("--out", ""), "--out is empty"),
        (("--out", "a\x1b[31mb"), "can't be shown"),
        (("--out", "not utf-8 \udcff"), "can't be shown"),
        (("--name", "../escaped"), "can't be part of a folder's name"),
        (("--name", ".."), "can't be part of a folder's name"),
        (("--name", "/tmp/elsewhere"), "can't be part of a folder's name"),
        (("--name", "n" * 240), "can't be part of a folder's name"),
        (("--out", "file/run"), "can't be made"),
        (("--out", "/proc/run"), "can't be made"),
    ],
)
def test_a_place_that_can_not_be_is_refused(
    vit: Run, recipe: Path, tmp_path: Path, words: tuple[str, str], message: str
) -> None:
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.iterdir())
    assert is_refused(vit("train", recipe, *words), 2, message)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.case("C9")
@pytest.mark.parametrize("devices", ["cuda", "gpu", "0", "-1", "1.5", "two", "7,8", "0,0", ""])
def test_devices_that_there_are_not_are_refused(vit: Run, recipe: Path, devices: str) -> None:
    assert is_refused(vit("train", recipe, "--devices", devices), 2)


@pytest.mark.case("C8", "V4")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_current_folder_that_is_read_only_is_told_before_training(vit: Run, recipe: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert is_refused(vit("train", recipe), 2, "can't be made")
    finally:
        tmp_path.chmod(0o700)


def test_a_recipe_that_goes_away_between_two_commands_is_missed_by_name(vit: Run, recipe: Path, photos: Path) -> None:
    shutil.rmtree(photos)
    recipe.unlink()
    assert is_refused(vit("train", recipe), 2, "tiny.yaml")
