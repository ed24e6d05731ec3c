"""Features are what the last layer sees, in the order of the images, and are kept for as long as they are true."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.data.pictures import write_folder
from vit_cli.augment.preprocess import Preprocess
from vit_cli.checkpoint.model import write_model
from vit_cli.data.decode import decode
from vit_cli.data.folder import Folder
from vit_cli.data.samples import Files, Samples, subset
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.features import Features, extract_features, find_place, get_features, make_key
from vit_cli.evaluate.saved import Ready, get_ready
from vit_cli.models.vit import Vit

ALONE = World(0, 1, torch.device("cpu"))


def get_model(folder: Path, seed: int = 0, names: tuple[str, ...] = ("cat", "dog"), **fields: object) -> Ready:
    """Write the smallest model there is with random weights, without a head if it has no classes, and get it ready."""
    section = Vit(name="vit", width=8, depth=1, heads=1, patch=4, res=8, **fields)
    torch.manual_seed(seed)
    weights = section.build(2).state_dict()
    about = {
        "model": section.model_dump(mode="json"),
        "res": [8, 8],
        "class_names": list(names),
        "preprocess": Preprocess().model_dump(mode="json"),
    }
    write_model(folder, {name: tensor for name, tensor in weights.items() if names or "head" not in name}, about)
    return get_ready(folder, ALONE, needs_head=bool(names))


@pytest.fixture
def samples(tmp_path: Path) -> Files:
    return Folder(root=write_folder(tmp_path / "photos", {"cat": 40, "dog": 30})).open()


def hide(samples: Files) -> None:
    """Make every picture unreadable, as it was when it was last changed."""
    for row in range(len(samples)):
        path = Path(os.fsdecode(samples.path(row)))
        status = path.stat()
        path.write_bytes(b"\0" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def get(ready: Ready, samples: Samples, folder: Path) -> Features:
    return get_features(ready, samples, ALONE, folder)


def is_fresh(found: Features) -> bool:
    return found.seconds > 0


def test_features_are_what_the_last_layer_makes_logits_of(tmp_path: Path, samples: Files) -> None:
    for number, fields in enumerate([{}, {"pool": "gap"}, {"head": "mlp", "head_width": 5}]):
        ready = get_model(tmp_path / str(number), **fields)
        table = extract_features(ready, samples, ALONE)
        head = ready.model.head
        last = head.classes if fields.get("head") == "mlp" else head
        torch.nn.init.normal_(last.weight)
        images = [ready.transform(decode(samples.read(row), 1000)) for row in range(len(samples))]
        with torch.inference_mode():
            logits = ready.model(ready.prepare(torch.stack(images)))
            torch.testing.assert_close(last(torch.from_numpy(table)), logits)
        assert table.shape == (70, 5 if number == 2 else 8)


def test_a_model_without_head_has_the_features_of_one_with_it(tmp_path: Path, samples: Files) -> None:
    whole, headless = get_model(tmp_path / "whole"), get_model(tmp_path / "headless", names=())
    with pytest.raises(CheckpointError, match="no head"):
        get_ready(tmp_path / "headless", ALONE)
    np.testing.assert_array_equal(*(extract_features(ready, samples, ALONE) for ready in (whole, headless)))


def test_a_second_call_reads_no_image_and_gives_the_same_to_the_bit(tmp_path: Path, samples: Files) -> None:
    ready, folder = get_model(tmp_path / "model"), tmp_path / "features"
    first = get(ready, samples, folder)
    assert is_fresh(first)
    assert [first.file] == list(folder.iterdir())
    hide(samples)
    second = get(ready, samples, folder)
    assert not is_fresh(second)
    np.testing.assert_array_equal(second.table, first.table)


def test_what_features_depend_on_changes_the_file(tmp_path: Path, samples: Files) -> None:
    ready = get_model(tmp_path / "model")
    others = [
        (get_model(tmp_path / "other", seed=1), samples),
        (get_ready(tmp_path / "model", ALONE, res=12), samples),
        (replace(ready, precision="bf16"), samples),
        (replace(ready, preprocess=Preprocess(crop=1.0)), samples),
        (ready, subset(samples, np.arange(69))),
        (ready, subset(samples, np.arange(70)[::-1])),
    ]
    keys = [make_key(*pair) for pair in [(ready, samples), *others]]
    Path(os.fsdecode(samples.path(3))).write_bytes(samples.read(5))
    keys.append(make_key(ready, samples))
    assert len(set(keys)) == len(keys)
    same = get_model(tmp_path / "copy")
    assert make_key(same, samples) == keys[-1]


def test_a_damaged_file_and_that_of_other_features_are_written_anew(tmp_path: Path, samples: Files) -> None:
    ready, folder = get_model(tmp_path / "model"), tmp_path / "features"
    first = get(ready, samples, folder)
    content = first.file.read_bytes()
    other = get(get_model(tmp_path / "other", seed=1), samples, folder).file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (content[:-9], flipped, b"", other):
        first.file.write_bytes(damaged)
        again = get(ready, samples, folder)
        assert is_fresh(again)
        np.testing.assert_array_equal(again.table, first.table)
        assert first.file.read_bytes() == content


def test_features_that_can_not_be_kept_are_given_all_the_same(tmp_path: Path, samples: Files) -> None:
    (tmp_path / "file").write_text("no folder")
    found = get(get_model(tmp_path / "model"), samples, tmp_path / "file/features")
    assert len(found.table) == 70
    assert "Not a directory" in found.trouble


def test_features_are_kept_in_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for folder in ("model", "checkpoints"):
        (run / folder).mkdir(parents=True)
    (run / "resolved.yaml").touch()
    (run / "checkpoints/last.pt").touch()
    for path in (run, run / "model", run / "checkpoints/last.pt"):
        assert find_place(path) == (run / "features").resolve()
    assert find_place(tmp_path / "weights.npz") == (tmp_path / "features").resolve()
