"""Images to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.inspect.tiny import CLASSES, get
from vit_cli.data.samples import Pixels
from vit_cli.errors import DataError
from vit_cli.inspect.album import Album, read_albums


def write_images(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{place}.png" for place in range(count)]
    for place, path in enumerate(paths):
        Image.new("RGB", (20, 12), (place, place, 0)).save(path)
    return paths


def test_files_are_chosen_evenly_and_grouped_by_what_the_model_says(tmp_path: Path) -> None:
    ready = get(tmp_path / "model", "gap")
    paths = write_images(tmp_path, 9)
    (album,) = read_albums([ready], paths, 5)
    assert album.names == [str(paths[place]) for place in (0, 2, 4, 6, 8)]
    assert tuple(album.images.shape) == (5, 3, 12, 20)
    said = ready.model(ready.prepare(album.images)).argmax(dim=1)
    assert (list(album.groups), album.told_by) == ([CLASSES[i] for i in said], "what the model says")


def test_two_models_see_the_same_images_each_at_its_own_size_and_the_first_names_their_classes(tmp_path: Path) -> None:
    first, second = get(tmp_path / "first", "cls"), get(tmp_path / "second", "map")
    pixels = np.arange(4, dtype=np.uint8)[:, None, None].repeat(12, 1).repeat(20, 2)
    albums = read_albums([first, second], Pixels("four", pixels, np.array([2, 0, 1, 2]), CLASSES), 10)
    assert [album.groups for album in albums] == [["red", "blue", "green", "red"]] * 2
    assert albums[0].told_by == "class"
    assert albums[0].is_grey
    assert torch.equal(albums[0].images, albums[1].images)


def test_images_that_are_drawn_are_of_different_classes_where_these_are_known() -> None:
    images, groups = torch.zeros(30, 3, 4, 4, dtype=torch.uint8), [str(place // 3) for place in range(30)]
    assert Album(images, groups, groups, "class").shown == [0, 6, 12, 21, 27]
    assert Album(images, groups, groups, "what the model says").shown == [0, 7, 14, 22, 29]
    assert Album(images, groups, groups[:6] * 5, "class").shown == [0, 7, 14, 22, 29]  # two classes


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 2)
    paths[1].write_text("not an image")
    with pytest.raises(DataError, match=r"1\.png"):
        read_albums([get(tmp_path / "model", "cls")], paths, 10)


def test_coloured_images_are_not_grey_nor_are_none() -> None:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert Album(images, ["a", "b"]).is_grey
    images[1, 2, 0, 0] = 1
    assert not Album(images, ["a", "b"]).is_grey
    assert not Album(images[:0], []).is_grey
    assert Album(images[:0], []).shown == []
