"""Write the tables of docs/models.md: every published model that a recipe can name, and how far we are from their peers.

    python scripts/write_models.py                      the table of models, and that of attention on large images
    python scripts/write_models.py --parity FILE        also the other one, from `scripts/parity.py --all --json`

The text around the tables is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from vit_cli.models import Model
from vit_cli.recipe.plain import read_section

PAGE = Path(__file__).parents[1] / "docs/models.md"
WINDOWS = PAGE.parents[1] / "benchmarks/windows_cpu_2cores.json"
EVERYWHERE = "Google, timm, Hugging Face, torchvision", "timm, Hugging Face"


class Row(NamedTuple):
    """A model: what it is called, its section, its classes, the parameters that its authors or their code have, formats."""

    title: str
    section: dict[str, Any]
    classes: int
    published: str
    weights_in: str
    weights_out: str


def vit(title: str, published: str, formats: tuple[str, str] = EVERYWHERE, classes: int = 1000, **keys: Any) -> Row:
    """A Vision Transformer or what grew out of it, of 1000 classes unless it has others."""
    return Row(title, {"name": "vit", **keys}, classes, published, *formats)


PLAIN = "Google, timm, Hugging Face", "timm, Hugging Face"
DEITS = "timm, Hugging Face, facebookresearch", "timm, Hugging Face"
BETTER = "Google, timm", "timm"
DEIT3S = "timm, facebookresearch", "timm, Hugging Face (as DINOv2)"
GIANT2 = {"width": 1536, "depth": 40, "heads": 24}
DINOS = "timm, Hugging Face, facebookresearch", "timm"
HYBRIDS = "Google (convention flax), timm (convention timm)", "timm (convention timm)"
TNTS = "timm, the authors'", "timm"
TORCHVISION = "torchvision", "-"
CCTS = "the authors'", "-"
ROWS = [
    vit("ViT-Ti/16", "5,717,416", PLAIN, size="tiny"),
    vit("ViT-S/32", "22,878,952", PLAIN, size="small", patch=32),
    vit("ViT-S/16", "22,050,664", PLAIN, size="small"),
    vit("ViT-S/16, mean of patches, sines and cosines", "21,974,632", BETTER, size="small", pool="gap", positions="sincos2d"),
    vit("ViT-M/16", "38,837,736", PLAIN, size="medium"),
    vit("ViT-B/32", "88,224,232", size="base", patch=32),
    vit("ViT-B/16", "86,567,656", size="base"),
    vit("ViT-B/16, 384 pixels", "86,859,496", size="base", res=384),
    vit("ViT-B/8", "86,576,872", PLAIN, size="base", patch=8),
    vit("ViT-B/16 of pre-training, 21,843 classes", "103,186,515", ("Google", "-"), 21843, size="base", head="mlp"),
    vit("ViT-L/32", "306,535,400", size="large", patch=32),
    vit("ViT-L/16", "304,326,632", size="large"),
    vit("ViT-H/14", "632,045,800", size="huge", patch=14),
    vit("ViT-So400m/14", "413,597,656", PLAIN, size="so400m", patch=14),
    vit("ViT-g/14", "1,012,611,432", PLAIN, size="giant", patch=14),
    vit("ViT-G/14", "1,844,440,680", PLAIN, size="gigantic", patch=14),
    vit("DeiT-Ti, distilled", "5,910,800", DEITS, size="tiny", name="deit"),
    vit("DeiT-S, distilled", "22,436,432", DEITS, size="small", name="deit"),
    vit("DeiT-B, distilled", "87,338,192", DEITS, size="base", name="deit"),
    vit("DeiT III-B", "86.6 M", DEIT3S, size="base", layer_scale=1e-4, cls_position=False),
    vit("DINOv2-S/14, registers, no head", "22.06 M", DINOS, 0, size="small", patch=14, res=518, registers=4, layer_scale=1e-5),
    vit("DINOv2-g/14, no head", "1136.48 M", DINOS, 0, **GIANT2, patch=14, res=518, ffn="swiglu", layer_scale=1e-5),
    vit("R+ViT-Ti/16", "6,337,704", HYBRIDS, name="hybrid", size="tiny", backbone="stem", patch=8),
    vit("R26+ViT-S/32", "36,431,912", HYBRIDS, name="hybrid", size="small", backbone="r26_32"),
    vit("R50+ViT-B/16", "98,659,112", HYBRIDS, name="hybrid", size="base", backbone="r50_16"),
    vit("R50+ViT-L/32", "328,994,856", HYBRIDS, name="hybrid", size="large", backbone="r50_32"),
    vit("TNT-Ti", "6,076,408", TNTS, name="tnt", size="tiny"),
    vit("TNT-S", "23,768,584", TNTS, name="tnt", size="small"),
    vit("TNT-S, legacy", "23,755,336", TNTS, name="tnt", size="small", legacy=True),
    vit("TNT-B", "65,428,680", TNTS, name="tnt", size="base"),
    vit("CCT-2/3x2", "0.284 M", CCTS, 10, name="cct", size="cct_2", convolutions=2),
    vit("CCT-6/3x1, fixed positions", "3.168 M", CCTS, 10, name="cct", size="cct_6", positions="sincos"),
    vit("CCT-7/3x1", "3.760 M", CCTS, 10, name="cct", size="cct_7"),
    vit("ResNet-18", "11,689,512", TORCHVISION, name="resnet", size=18),
    vit("ResNet-50", "25,557,032", TORCHVISION, name="resnet", size=50),
    vit("ResNet-101", "44,549,160", TORCHVISION, name="resnet", size=101),
    vit("ConvNeXt-T", "28,589,128", TORCHVISION, name="convnext", size="tiny"),
    vit("ConvNeXt-S", "50,223,688", TORCHVISION, name="convnext", size="small"),
    vit("ConvNeXt-B", "88,591,464", TORCHVISION, name="convnext", size="base"),
    vit("ConvNeXt-L", "197,767,336", TORCHVISION, name="convnext", size="large"),
]  # fmt: skip


def list_models() -> list[str]:
    """Give the lines of the table of models."""
    lines = [
        "| model | in a recipe | parameters | published | GFLOPs | weights in | weights out |",
        "|---|---|---:|---:|---:|---|---|",
    ]
    for row in ROWS:
        with torch.device("meta"):
            network = read_section(Model, row.section).build(row.classes)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        recipe = yaml.safe_dump(row.section, default_flow_style=True, sort_keys=False, width=1000).strip()
        gflops = f"{network.flops() / 1e9:.3g}"
        cells = (row.title, f"`{recipe}`", f"{parameters:,}", row.published, gflops, row.weights_in, row.weights_out)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def list_parity(path: Path) -> list[str]:
    """Give the lines of the table of differences."""
    lines = ["| family | size | largest difference | stretched | spread of logits |", "|---|---|---:|---:|---:|"]
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        differences = row["differences"]
        cells = [f"{found['largest']:.1e} at {side}" for side, found in differences.items()]
        spread = min(found["spread"] for found in differences.values())
        cells = [row["family"], row["size"], *cells, *["-"] * (2 - len(cells)), f"{spread:.2g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def list_windows(path: Path) -> list[str]:
    """Give the lines of the table of attention on large images, from `scripts/bench_windows.py --json`."""
    lines = [
        "| attention | resolution | GFLOPs | seconds | growth | one block, seconds | growth |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    blocks = {(row["kind"], row["res"]): row for row in rows if row["part"] == "block"}
    for row in (row for row in rows if row["part"] == "model"):
        block = blocks[row["kind"], row["res"]]
        times = [f"{part['seconds']:.3f} | {grown(part)}" for part in (row, block)]
        lines.append(f"| {row['kind']} | {row['res']} | {row['gflops']:.3g} | {times[0]} | {times[1]} |")
    return lines


def grown(row: dict[str, Any]) -> str:
    """Write the power of the area that the time grew with since the resolution before."""
    return f"{row['growth']['seconds']:.2f}" if row["growth"] else "-"


def replace(text: str, name: str, lines: list[str]) -> str:
    """Put lines between the two comments that name a table."""
    begin, end = f"<!-- the table of {name}: scripts/write_models.py -->", f"<!-- the end of the table of {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{PAGE} has no table of {name}")
    return pattern.sub(lambda _: "\n".join([begin, *lines, end]), text)


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parity", type=Path, help="what `scripts/parity.py --all --json` printed")
    chosen = parser.parse_args()
    text = replace(PAGE.read_text(encoding="utf-8"), "models", list_models())
    text = replace(text, "windows", list_windows(WINDOWS))
    if chosen.parity:
        text = replace(text, "parity", list_parity(chosen.parity))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
