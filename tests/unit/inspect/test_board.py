"""Boards as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vit_cli.inspect.board import HALF, MARGIN, Board, Panel, make_page


def read(board: Board, path: Path) -> np.ndarray:
    board.save(path)
    return np.asarray(Image.open(path).convert("RGB"))


def test_an_image_lies_pixel_for_pixel_where_it_was_laid(tmp_path: Path) -> None:
    board = Board(300)
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    board.lay(11, 7, picture)
    board.lay(200, 90, picture)
    pixels = read(board, tmp_path / "board.png")
    assert pixels.shape == (110, 300, 3)
    np.testing.assert_array_equal(pixels[7:27, 11:41], picture)
    np.testing.assert_array_equal(pixels[90:110, 200:230], picture)
    pixels = pixels.copy()
    pixels[7:27, 11:41] = pixels[90:, 200:230] = 255
    assert (pixels == 255).all()


def test_a_diagram_and_words_are_drawn_over_the_images(tmp_path: Path) -> None:
    board = Board(400)
    board.write(0, 0, "above", "#ff0000")
    other = Board(400)
    other.plot(0, 0, 400, 300, lambda axes: axes.plot([0, 1], [0, 1], color="#00ff00", linewidth=5))
    board.stack(other, "A heading")
    pixels = read(board, tmp_path / "board.png").astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60)
    green = (pixels[..., 1] > 200) & (pixels[..., 0] < 60)
    assert red[:26].any()
    assert not red[30:].any()
    assert green[80:].any()
    assert not green[:60].any()


def test_panels_stand_side_by_side_under_their_names_and_the_caption_below_all(tmp_path: Path) -> None:
    low, high = Board(HALF), Board(HALF)
    low.lay(0, 0, np.zeros((50, 60, 3), np.uint8))
    high.lay(0, 0, np.zeros((200, 60, 3), np.uint8))
    summary = " ".join(f"word{place}" for place in range(100, 130))
    page = make_page(
        "Title", [("one", Panel(low, summary, {})), ("two", Panel(high, "short", {}))], "Look for: nothing."
    )
    tops = {words.text: (words.x, words.y) for words in page.words}
    assert tops["one"][1] == tops["two"][1]
    assert tops["two"][0] == tops["one"][0] + HALF + 2 * MARGIN
    (left, top, _), (right, other, _) = page.images
    assert (left, right) == (MARGIN, MARGIN + HALF + 2 * MARGIN)
    assert top == other
    assert sum(text in summary for text in tops) == 3
    assert all(y < top for x, y in tops.values() if y < 200)
    assert tops["Look for: nothing."][1] > top + 200
    assert read(page, tmp_path / "page.png").shape[1] == 2 * HALF + 4 * MARGIN
