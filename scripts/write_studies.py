"""Write docs/studies.md and its plots from the results of studies.

    python scripts/write_studies.py                    from benchmarks/studies/*.json, as committed
    python scripts/write_studies.py --take FOLDER      first copies FOLDER/*/study.json there: the --out of `vit study`

A study that is not finished is left out, and named.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vit_cli.report.effects import draw_study
from vit_cli.study.summary import write_page

ROOT = Path(__file__).parents[1]
RESULTS, PAGE, PLOTS = ROOT / "benchmarks/studies", ROOT / "docs/studies.md", ROOT / "docs/studies"
ORDER = (
    "resolution",
    "positions",
    "positions_cifar10",
    "pooling",
    "small_data",
    "regularizers",
    "distillation",
    "tnt",
    "compute",
)
HEAD = """\
# Studies: do the claims hold?

`vit study NAME` trains the arms of a claim on data at hand, over folds and seeds, and says by how much they differ and how
sure that is. All of it is in one file: `recipes/studies/NAME.yaml`. This page is written by `scripts/write_studies.py` from
the results in `benchmarks/studies/`.

**The data.** Scanned digits, 1,797 images; the recipe is `digits_small`, a ViT of 28 thousand weights that is right about 97
times of 100 after seconds of training, so that differences can be seen. Every arm is trained on each of five folds (four
fifths to learn from, a fifth, about 360 images, to judge by) with each of three seeds, and judged once, at its last step:
no run is chosen by what it is judged by. One image is 0.28 points of one run.

**The interval.** Runs are compared in pairs of the same fold and seed. The mean of a fold's seeds is one value, and of the
five values the corrected resampled t-test (Nadeau & Bengio, 2003) makes a 95 % interval: it takes the variance of the mean as
1/5 + 1/4 of the folds', not 1/5, since folds share three quarters of their training images. Seeds of a fold share all images, so
they make the fold's value steadier and do not count as more of them. Where `data.fraction` takes a part of a fold's images, folds
share fewer, and the interval, made in the same way, is rather too wide. "Over seeds" is how much a single run varies with its seed.

**The verdict.** An effect inside its interval is undecided. Nothing is corrected for the number of comparisons: of twenty arms
without any effect, one will seem to have one. "Same" can be refuted here, never shown; the interval says how large a
difference may have been missed. What holds for thumbnails and thousands of weights may not hold at full size, nor the other way
round: such is said where it matters.

**Again, and on other data.** All of the tables below are made by

```console
$ OMP_NUM_THREADS=1 vit study pooling positions resolution distillation regularizers tnt small_data compute
$ python scripts/write_studies.py --take runs/studies
```

about 870 runs, equal ones once; it can be stopped and started again at any time, and started several times at
once, for each GPU say (`CUDA_VISIBLE_DEVICES=1` before it): each process takes the runs that no other has. The same files serve
at full size: a change gives another base, and other epochs. Data with a test split of their own have one fold; seeds are the
sample then.

```sh
vit study positions base=cifar10_vit 'folds=[0]' --out runs/cifar10
vit study regularizers base=cifar10_vit 'folds=[0]' --out runs/cifar10 \\
    "changes=[loss.label_smoothing=0, optim.weight_decay=0, model.drop_path=0, model.attention_dropout=0, 'augment=[{name: flip}]']"
```

**A study of your own** is a file with a claim, the recipe that all arms have in common, and what each arm changes. `source` and
`published` are texts; `expected` is better, worse or same than the arm in `reference`; folds are values of `data.fold`:

```yaml
# width.yaml, for: vit study width.yaml --dry-run
title: Width
claim: a wider model is better
source: our own question
published: nothing
base: digits_small
changes: [train.epochs=20]
reference: narrow
folds: [0, 1, 2]
seeds: [0, 1]
arms:
  - {name: narrow}
  - {name: wide, changes: [model.width=64], expected: better}
  - {name: tuned, start: narrow, changes: [finetune.positions=new]}
```

On photographs, a tenth of CIFAR-10 in five folds of its training images (not measured yet; it needs the extra `hf`; here from
parquet files):

```sh
vit study positions_cifar10 'changes.0=data.train.path=cifar10/train-*.parquet'
```
"""


def main() -> None:
    """Copy results if asked, and write the page and the plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, metavar="FOLDER")
    taken: Path | None = parser.parse_args().take
    RESULTS.mkdir(parents=True, exist_ok=True)
    for path in sorted(taken.glob("*/study.json")) if taken else []:
        (RESULTS / f"{path.parent.name}.json").write_bytes(path.read_bytes())
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    complete = [summary for summary in found if summary["runs"]["done"] == summary["runs"]["of"]]
    complete.sort(key=lambda summary: ORDER.index(summary["study"]) if summary["study"] in ORDER else len(ORDER))
    PLOTS.mkdir(exist_ok=True)
    parts = [HEAD, write_overview(complete)]
    for summary in complete:
        draw_study(summary, PLOTS / f"{summary['study']}.png")
        page = write_page(summary, level=2)
        parts.append(f"{page}\n![{summary['title']}](studies/{summary['study']}.png)\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    left = sorted({summary["study"] for summary in found} - {summary["study"] for summary in complete})
    print(f"{PAGE}: {len(complete)} studies" + (f"; not finished: {', '.join(left)}" if left else ""))


def write_overview(summaries: list[dict[str, Any]]) -> str:
    """Give the table of all claims."""
    lines = ["| claim | published | here |", "|---|---|---|"]
    for summary in summaries:
        anchor = "".join(c for c in summary["title"].lower() if c.isalnum() or c in " -").replace(" ", "-")
        lines.append(f"| [{summary['claim']}](#{anchor}) | {summary['published']} | **{summary['outcome']}** |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
