"""The parts of a page: tables, facts, tiles, pictures; every text in them is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from vit_cli.report.pictures import Tile


def section(name: str, title: str, body: str) -> str:
    """Give a section that can be linked to; nothing without a body."""
    return f"<section id={name}><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def show_numbers(numbers: Mapping[str, str]) -> str:
    """Show key numbers as tiles."""
    tiles = (f"<div><dd>{escape(value)}</dd><dt>{escape(label)}</dt></div>" for label, value in numbers.items())
    return f"<dl class=numbers>{''.join(tiles)}</dl>" if numbers else ""


def show_table(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    marked: Sequence[bool] = (),
    shares: Sequence[float] = (),
) -> str:
    """Show a table that scrolls sideways by itself where it is too wide; no lines, no table.

    `marked` lines stand out; `shares` from 0 to 1 are drawn as a bar in the last cell of each line.
    """
    kinds = [" class=number" if is_number else "" for is_number in numeric]
    top = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    body = ""
    for number, line in enumerate(lines):
        cells = [f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, line, strict=True)]
        if shares:
            cells[-1] = f'<td class="number bar" style="--share:{shares[number]:.3f}">{escape(line[-1])}</td>'
        body += f"<tr{' class=best' if marked and marked[number] else ''}>{''.join(cells)}</tr>\n"
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>" if lines else ""


def show_facts(facts: Mapping[str, str]) -> str:
    """Show names and values in two columns."""
    lines = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>\n" for key, value in facts.items())
    return f"<dl class=facts>{lines}</dl>" if facts else ""


def show_code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>" if text else ""


def show_note(text: str) -> str:
    return f"<p class=faint>{escape(text)}</p>" if text else ""


def fold(title: str, body: str) -> str:
    """Hide a long part behind its title."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def show_charts(charts: Sequence[str]) -> str:
    """Show charts beside or under one another, as there is room."""
    return f"<div class=charts>{''.join(charts)}</div>" if charts else ""


def show_picture(path: Path, text: str, kind: str, limit: int) -> str:
    """Put a picture into the page itself, in up to `limit` bytes; say so if it is damaged."""
    if not path.is_file():
        return ""
    try:
        kind_of_file, content = shrink(path.read_bytes(), limit)
        with Image.open(path) as image:
            width, height = image.size
    except OSError:
        return show_note(f"{path.name} is damaged and was left out.")
    source = as_source(kind_of_file, content)
    return f'<div class="{kind}"><img src="{source}" alt="{escape(text)}" width={width} height={height}></div>'


def show_tiles(title: str, tiles: Sequence[Tile]) -> str:
    """Show pictures with their captions, as many beside one another as there is room for."""
    shown = ""
    for tile in tiles:
        mark = {None: "", True: " class=right", False: " class=wrong"}[tile.is_right]
        first, *more = tile.caption.split("\n")
        words = escape(first) + "".join(f"<small>{escape(line)}</small>" for line in more)
        source = as_source(tile.kind, tile.content)
        shown += f'<figure{mark}><img src="{source}" alt="{escape(first)}"><figcaption>{words}</figcaption></figure>\n'
    return f"{show_note(title)}<div class=tiles>{shown}</div>" if shown else ""


def as_source(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def shrink(png: bytes, limit: int) -> tuple[str, bytes]:
    """Give the kind and the bytes of a picture: as it is, or if it is above `limit` as JPEG, smaller if need be."""
    if len(png) <= limit:
        return "png", png
    image = flatten(Image.open(io.BytesIO(png)))
    for quality, part in ((90, 1), (75, 1), (60, 1), (75, 2), (60, 4), (50, 8)):
        packed = io.BytesIO()
        image.reduce(part).save(packed, "JPEG", quality=quality)
        if packed.tell() <= limit:
            break
    return "jpeg", packed.getvalue()


def flatten(image: Image.Image) -> Image.Image:
    """Lay a picture on white."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
