"""From files to batches at full speed: the shipped input path beside timm's, on real photos and on CIFAR-10.

    python scripts/bench_input.py [--json FILE] [--photos DIR] [--cifar DIR] [--quick] [--only NAME ...] [--rounds N]

Ours is a recipe and what `wire` builds from it; the peer is timm's create_dataset, create_transform and create_loader
with its prefetcher. Arms alternate (ours, peer, peer, ours, ...), every arm of every round in a process of its own;
ratios above 1 mean that ours is better, low and high are those of the rounds. The exit code is 0 when every ratio
reaches its floor.

"img/s per core" is images over the processor time of the one loader worker (user and system, all its threads), from the
moment the fourth batch arrives in the loop: what a core makes that only loads. It is the rate of arrival on a quiet machine
with a core for each process, and unlike that rate it neither depends on other programs nor can be bettered by a second
thread. The rate of arrival is measured too: the rows `..._wall`, without a floor. What the main process does to a batch is
done in both arms (ours: to the device, what augment_on leaves to it, normalise; timm: normalise, erase) and counts in `_wall` only.

Alike in both arms: the files, one worker, batch 32 (large_photos 8), random resized crop of 0.08 to 1 of the area and 3:4 to
4:3, bicubic with antialiasing, to 224, flip; two operations of RandAugment at 0.9 of its reach (ours {ops: 2, magnitude: 9,
bins: 11}, timm rand-m9-n2-p1-inc1) sampled bilinearly; erasing of a quarter of the images with noise; evaluation: the
short side to 256, the middle 224. What differs:
- timm's list of operations has Invert and SolarizeAdd, ours has Identity: 1 of 14 operations does nothing;
- timm posterises to 1 bit at this magnitude, ours to 4;
- timm erases in the main process in all rows, ours in the worker in crop_flip_randaugment, in the main process in device_augment;
- pack_256: timm reads the original photos, since it has no packing;
- cifar_feed: both read the same parquet files with two workers; ours decodes all images once, before the clock starts.

Large photos are real ones enlarged to 4000x3000, with a sensor's noise, in JPEG of quality 92. cifar_train is the shipped
loop beside timm's parts in a loop like its train.py (scripts/bench_loops.py): ViT D192, 12 layers, patch 4, batch 128, mixup and
cutmix, clipping, AdamW, both in bfloat16 autocast; `cifar_train_fp32` is the same in float32, without a floor.
Linux only: processor time is read from /proc. `--device cuda` adds three figures of ViT-S/16 and ViT-B/16 on the GPU: images/s
that the shipped loop sustains, the share of time that it waits for them, milliseconds of augmentation for a batch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.bench_arms import Row, alternate, finish, make_row, run_arm
from scripts.bench_input_cuda import measure_gpu
from scripts.bench_input_ours import measure_ours
from scripts.bench_input_peer import measure_peer
from scripts.bench_input_works import FULL, INFORMS, QUICK, WORKS, Extent, Place, Work
from scripts.bench_photos import CIFAR, PHOTOS, find_cifar, find_photos, write_large, write_pack, write_split

ARMS = {"ours": measure_ours, "peer": measure_peer}
ALL = {work.name: work for work in (*WORKS, INFORMS)}
NAMES_OF_A_PHOTO = 16
SHORT_SIDE = 256


def prepare(works: list[Work], args: argparse.Namespace, root: Path, extent: Extent) -> tuple[Place, str]:
    """Write the images that the works read; say what they are."""
    files, kind = find_photos(args.photos, root)
    place, said = Place(root, args.cifar), [kind]
    kinds = {work.source for work in works} | ({"photos"} if args.device == "cuda" else set())
    if kinds & {"photos", "pack", "large"}:
        for split in ("train", "val"):
            write_split(files, place.photos / split, NAMES_OF_A_PHOTO)
    if "large" in kinds:
        large = write_large(files, root / "enlarged", extent.large)
        said.append(f"{sum(path.stat().st_size for path in large) / len(large) / 1e6:.1f} MB each at 12 megapixels")
        write_split(large, place.large / "train")
    if "pack" in kinds:
        write_pack(write_split(files, root / "to_pack"), place.pack, SHORT_SIDE)
    if "cifar" in kinds:
        found, what = find_cifar(args.cifar, root)
        place, said = replace(place, cifar=found), [*said, what]
    return place, ", ".join(said)


def compare(work: Work, place: Place, extent: Extent) -> list[Row]:
    """Measure both arms of a work by turns: its row, and where processor time is counted that of the rate of arrival."""
    plain = json.dumps({"place": {key: str(path) for key, path in asdict(place).items()}, "extent": asdict(extent)})

    def measure(arm: str) -> dict[str, float]:
        return run_arm(__file__, ["--arm", arm, "--only", work.name, "--task", plain], place.root)

    ours, peer = alternate(measure, extent.rounds)
    names = {work.measures: (work.name, work.unit, work.floor)}
    if work.measures == "worker":
        names["wall"] = (f"{work.name}_wall", "img/s", 0.0)
    return [
        make_row(*about, [figures[key] for figures in ours], [figures[key] for figures in peer])
        for key, about in names.items()
    ]


def run_task(arm: str, name: str, task: str) -> None:
    """Measure one arm of one work in this process, and print its figures."""
    told = json.loads(task)
    place = Place(**{key: Path(path) for key, path in told["place"].items()})
    print(json.dumps(ARMS[arm](ALL[name], place, Extent(**told["extent"]))))


def main() -> int:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--cifar", type=Path, default=CIFAR)
    parser.add_argument("--quick", action="store_true", help="one short round of each row, within 5 minutes")
    parser.add_argument("--only", nargs="+", choices=sorted(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--arm", choices=sorted(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        run_task(args.arm, args.only[0], args.task)
        return 0
    extent = QUICK if args.quick else FULL
    extent = replace(extent, rounds=args.rounds or extent.rounds)
    works = [ALL[name] for name in args.only] if args.only else [*WORKS, *(() if args.quick else (INFORMS,))]
    with tempfile.TemporaryDirectory() as scratch:
        place, kind = prepare(works, args, Path(scratch), extent)
        print(f"{kind}; {extent.rounds} rounds of {extent.batches} batches or {extent.steps} steps", flush=True)
        rows = [row for work in works for row in compare(work, place, extent)]
        facts = list(measure_gpu(place)) if args.device == "cuda" else []
    rows.sort(key=lambda row: row["floor"] == 0)
    return finish(rows, args.json, facts)


if __name__ == "__main__":
    sys.exit(main())
