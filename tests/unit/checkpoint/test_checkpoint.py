"""Checkpoints: whole or not at all, exact, and harmless whoever wrote them."""

from __future__ import annotations

import json
import os
import pickle
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vit_cli.checkpoint.commit import commit, point
from vit_cli.checkpoint.facts import read_whole
from vit_cli.checkpoint.file import FORMAT, FORMAT_VERSION, digest, read_checkpoint, write_checkpoint
from vit_cli.checkpoint.model import CONFIG, WEIGHTS, open_model, write_model
from vit_cli.errors import CheckpointError, TrainingError

ABOUT = {"model": {"name": "vit"}, "res": [8, 8], "class_names": ["cat", "dög"], "preprocess": {"crop": 0.875}}


def content(**changes: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    return {"model": {"w": torch.randn(3, 4)}, "ema": {}, "about": ABOUT} | changes


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "step-000001.pt"
    write_checkpoint(path, content())
    return path


@pytest.fixture
def little_space() -> Iterator[None]:
    """Let no file of this process grow beyond 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    plain = {"none": None, "text": "é\n", "float": 0.1 + 0.2, "big": 2**80, "flags": [True, False], "pair": (1, "a")}
    given = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "odd": odd,
        "half": odd.bfloat16(),
        "plain": plain,
    }
    write_checkpoint(tmp_path / "a.pt", given)
    read = read_checkpoint(tmp_path / "a.pt")
    assert read["plain"] == plain
    assert read["odd"].view(torch.int32).tolist() == odd.view(torch.int32).tolist()
    assert read["half"].dtype == torch.bfloat16
    assert all(torch.equal(read["model"][name], value) for name, value in net.state_dict().items())
    for number, moments in optimizer.state_dict()["state"].items():
        assert all(torch.equal(read["optimizer"]["state"][number][name], value) for name, value in moments.items())
    assert read["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]


def test_the_average_weights_are_the_ones_to_evaluate(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_checkpoint(path, content(model={"w": torch.zeros(2), "b": torch.ones(1)}, ema={"w": torch.full((2,), 5.0)}))
    model = open_model(path)
    assert {name: value.tolist() for name, value in model.weights.items()} == {"w": [5.0, 5.0], "b": [1.0]}
    assert model.class_names == ("cat", "dög")
    assert model.path == path


@pytest.mark.parametrize("stranger", [Path("x"), np.float64(1.0), np.zeros(2), {1, 2}, print, torch.float32])
def test_what_could_not_be_read_again_is_never_written(tmp_path: Path, stranger: object) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(TypeError, match=r"checkpoint\['about'\]\['held'\]\[1\] is a \w+, which no checkpoint may hold"):
        write_checkpoint(path, content(about={"held": [0, stranger]}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [OSError("disk on fire"), RuntimeError("torch says so"), KeyboardInterrupt(), ValueError()]
)
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(aside: Path) -> None:
        aside.write_text("half of the n")
        raise error

    expected = TrainingError if isinstance(error, OSError | RuntimeError) else type(error)
    with pytest.raises(expected) as caught:
        commit(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    if expected is TrainingError:
        assert str(error) in str(caught.value)


def test_a_commit_replaces_the_old_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    reader = path.open()
    commit(path, lambda aside: aside.write_text("new"))
    assert path.read_text() == "new"
    assert reader.read() == "old", "whoever had the file open keeps reading the old one"
    reader.close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("little_space")
def test_no_space_left_is_a_training_error_with_the_old_checkpoint_intact(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(TrainingError, match="File too large") as caught:
        write_checkpoint(saved, content(model={"w": torch.zeros(100_000)}))
    assert caught.value.exit_code == 5
    assert "disk full" in caught.value.hint
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.usefixtures("little_space")
def test_no_space_left_for_a_model_folder_keeps_the_old_one(tmp_path: Path) -> None:
    write_model(tmp_path, {"w": torch.ones(2)}, ABOUT)
    with pytest.raises(TrainingError, match=r"model\.safetensors can't be written"):
        write_model(tmp_path, {"w": torch.zeros(100_000)}, ABOUT)
    assert open_model(tmp_path).weights["w"].tolist() == [1.0, 1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS]


def test_a_folder_that_can_not_be_made_is_a_training_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="can't be written"):
        write_model(tmp_path / "file" / "model", {}, ABOUT)
    with pytest.raises(TrainingError, match="can't be written"):
        write_checkpoint(tmp_path / "absent" / "a.pt", content())


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_the_last_byte(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5_000))


def fill_with_text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def flip_a_bit_of_the_weights(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[whole.index(content()["model"]["w"].numpy().tobytes()) + 7] ^= 1
    path.write_bytes(bytes(whole))


DAMAGES = [truncate, cut_the_last_byte, empty, fill_with_noise, fill_with_text, flip_a_bit_of_the_weights]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_by_its_path(saved: Path, damage: Callable[[Path], None]) -> None:
    damage(saved)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(saved)
    assert str(saved) in caught.value.problem
    assert "amaged" in str(caught.value)


def test_every_cut_of_a_checkpoint_is_noticed(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), 97):
        saved.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(saved)


class Evil:
    """Unpickling this touches a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def bare_pickle(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps(evil))


def torch_zip(path: Path, evil: Evil) -> None:
    torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, "model": {}, "about": evil}, path)


def old_torch_file(path: Path, evil: Evil) -> None:
    torch.save({"format": FORMAT, "about": evil}, path, _use_new_zipfile_serialization=False)


def hand_made_zip(path: Path, evil: Evil) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(evil, protocol=2))
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")


@pytest.mark.parametrize("write", [bare_pickle, torch_zip, old_torch_file, hand_made_zip])
def test_a_pickle_that_would_run_code_does_not_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, Evil], None]
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, marker = tmp_path / "evil.pt", tmp_path / "executed"
    write(path, Evil(marker))
    with pytest.raises(CheckpointError) as caught:
        open_model(path)
    assert not marker.exists()
    assert "weights_only=False" not in str(caught.value), "no word of how to load it all the same"


def test_the_pickle_of_these_tests_would_have_run_its_code(tmp_path: Path) -> None:
    bare_pickle(tmp_path / "evil.pt", Evil(tmp_path / "executed"))
    pickle.loads((tmp_path / "evil.pt").read_bytes())
    assert (tmp_path / "executed").exists()


def test_a_file_of_another_program_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_checkpoint(path)
    for foreign in ({"state_dict": {}}, [1, 2], torch.zeros(2)):
        torch.save(foreign, path)
        with pytest.raises(CheckpointError, match="is no checkpoint of vit"):
            read_checkpoint(path)
    write_checkpoint(path, content(format_version=2))
    with pytest.raises(CheckpointError, match=f"has format version 2; this vit reads version {FORMAT_VERSION}"):
        read_checkpoint(path)


@pytest.mark.parametrize("part", ["model", "ema", "about"])
def test_a_checkpoint_without_a_part_is_refused(tmp_path: Path, part: str) -> None:
    for broken in (None, [1]):
        write_checkpoint(tmp_path / "a.pt", content(**{part: broken}))
        with pytest.raises(CheckpointError, match=f"lacks {part}"):
            open_model(tmp_path / "a.pt")


@pytest.mark.parametrize("key", ABOUT)
def test_a_model_without_what_belongs_to_it_is_refused(tmp_path: Path, key: str) -> None:
    about = {name: value for name, value in ABOUT.items() if name != key}
    write_checkpoint(tmp_path / "a.pt", content(about=about))
    write_model(tmp_path / "model", {"w": torch.zeros(2)}, about)
    for path in (tmp_path / "a.pt", tmp_path / "model"):
        with pytest.raises(CheckpointError, match=f"lacks {key}"):
            open_model(path)


def test_a_model_folder_gives_back_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = {"a": torch.randn(3, 4).t(), "half": torch.randn(5).bfloat16(), "scalar": torch.tensor(3)}
    write_model(tmp_path / "model", weights, ABOUT)
    for path in (tmp_path / "model", tmp_path):
        model = open_model(path)
        assert model.path == tmp_path / "model"
        assert model.about == ABOUT | {"format_version": FORMAT_VERSION}
        assert model.weights.keys() == weights.keys()
        assert all(torch.equal(model.weights[name], value) for name, value in weights.items())
        assert all(model.weights[name].dtype == value.dtype for name, value in weights.items())


def test_the_file_of_weights_stands_for_its_model_folder(tmp_path: Path) -> None:
    write_model(tmp_path / "model", {"w": torch.ones(2)}, ABOUT)
    (by_file, in_file), (by_folder, in_folder) = (
        read_whole(path) for path in (tmp_path / "model" / "model.safetensors", tmp_path / "model")
    )
    assert by_file == by_folder
    assert digest(in_file) == digest(in_folder)
    assert open_model(by_file).class_names == ("cat", "dög")


def test_a_run_without_a_model_folder_gives_its_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no model"):
        open_model(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    write_checkpoint(tmp_path / "checkpoints" / "step-000007.pt", content())
    point(tmp_path / "checkpoints" / "last.pt", tmp_path / "checkpoints" / "step-000007.pt")
    assert open_model(tmp_path).weights["w"].shape == (3, 4)


@pytest.mark.parametrize("damage", [truncate, empty, fill_with_noise, Path.unlink])
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_damaged_model_folder_is_refused(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    folder = tmp_path / "model"
    write_model(folder, {"w": torch.zeros(100)}, ABOUT)
    damage(folder / name)
    with pytest.raises(CheckpointError, match="model"):
        open_model(folder)


@pytest.mark.parametrize("config", [{}, [], 5, None, ABOUT | {"format_version": 99}])
def test_a_config_of_another_kind_is_refused(tmp_path: Path, config: object) -> None:
    write_model(tmp_path, {"w": torch.zeros(2)}, ABOUT)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="not of format version 1"):
        open_model(tmp_path)


def test_a_link_is_relative_and_moves_in_one_step(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for step in (1, 2):
        (folder / f"step-{step}.pt").write_text(str(step))
        point(folder / "last.pt", folder / f"step-{step}.pt")
        assert (folder / "last.pt").readlink() == Path(f"step-{step}.pt")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "checkpoints" / "last.pt").read_text() == "2"
    assert len(list((tmp_path / "moved" / "checkpoints").iterdir())) == 3


def test_a_link_that_can_not_be_made_is_a_training_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(TrainingError, match=r"last\.pt can't be written"):
        point(tmp_path / "last.pt", tmp_path / "a.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("class_names", value) for value in (5, [1, 2, 3], "cat", None)),
        *(
            ("held", value)
            for value in (3, {"blue": "x"}, {"blue": 2**63}, {"blue": True}, {"blue": [1]}, {"blue": [1, "2"]}, [1])
        ),
        *(("res", value) for value in (8, [8], [8, "8"], [0, 8])),
        *((key, 3) for key in ("model", "preprocess", "data", "recipe")),
    ],
)
def test_a_config_with_a_part_of_another_kind_is_refused(tmp_path: Path, key: str, value: object) -> None:
    write_model(tmp_path, {"w": torch.zeros(2)}, ABOUT | {key: value})
    with pytest.raises(CheckpointError, match=f"has a strange {key}"):
        open_model(tmp_path)
