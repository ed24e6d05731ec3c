"""What a huge set of shards costs before the first image is read: time and memory, in a process of its own.

    python scripts/bench_index.py [--images 100000000] [--classes 1000] [--shards 4000] [--dir DIR] [--json FILE]

Writes an index of so many images (24 bytes each) and shards that are one hole each, opens it as training does, and draws
the images of some batches. The pictures themselves are not read. Prints JSON; exits with 1 above 2 GB or a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vit_cli.data.shard_index import COLUMNS, PackIndex, ShardFile, make_fingerprint, write_index

CHUNK = 4_000_000
MOST_BYTES, MOST_SECONDS = 2e9, 60.0
BATCHES, BATCH = 50, 1024


def write_synthetic(folder: Path, images: int, classes: int, shards: int) -> None:
    """Write tables of random labels, with shards that take no room on the disk."""
    random = np.random.default_rng(0)
    per_shard = -(-images // shards)
    files = {name: (folder / f"{name}.bin").open("wb") for name in COLUMNS}
    digests = {name: hashlib.sha256() for name in COLUMNS}
    counts = np.zeros(classes, dtype=np.int64)
    for start in range(0, images, CHUNK):
        rows = np.arange(start, min(start + CHUNK, images))
        labels = random.integers(0, classes, len(rows))
        counts += np.bincount(labels, minlength=classes)
        sizes = random.integers(50_000, 150_000, len(rows))
        columns = {
            "places": np.stack([rows % per_shard * 300, sizes], axis=1),
            "labels": labels,
            "keys": random.integers(0, 2**63, len(rows)),
        }
        for name, (kind, _) in COLUMNS.items():
            content = columns[name].astype(kind).tobytes()
            files[name].write(content)
            digests[name].update(content)
    for file in files.values():
        file.close()
    tables = {name: digest.hexdigest() for name, digest in digests.items()}
    held = [min(per_shard, images - start) for start in range(0, images, per_shard)]
    size = per_shard * 300 * 512
    for number in range(len(held)):
        with (folder / f"shard-{number:06d}.tar").open("wb") as file:
            file.truncate(size)
    files_ = tuple(ShardFile(file=f"shard-{i:06d}.tar", images=n, bytes=size) for i, n in enumerate(held))
    names = tuple(f"class {number}" for number in range(classes))
    index = PackIndex(
        format="wds",
        images=images,
        classes=names,
        counts=tuple(counts.tolist()),
        shards=files_,
        tables=tables,
        quoted=True,
        made=None,
        fingerprint=make_fingerprint(names, files_, tables),
    )
    (folder / "index.json").write_bytes(write_index(index))


def resident() -> dict[str, float]:
    """Give the memory of this process in MB: what is its own, and what it shares with the system's cache of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    shown = {"own": "RssAnon", "cached": "RssFile"}
    return {name: round(int(status[key].split()[0]) / 1024, 1) for name, key in shown.items()}


def measure(folder: Path) -> dict[str, object]:
    """Open an index as training does, and draw batches."""
    import torch  # noqa: F401 - what training has in memory anyway

    from vit_cli.data.fingerprint import fingerprint
    from vit_cli.data.order import Order
    from vit_cli.data.samples import count_images
    from vit_cli.data.shards import Shards

    before = resident()
    start = time.perf_counter()
    samples = Shards(path=str(folder)).open()
    seconds = {"open": time.perf_counter() - start}
    start = time.perf_counter()
    order = Order(len(samples), 0, BATCH)
    for step in range(BATCHES):
        indices = order.draws(step).indices
        labels = np.asarray(samples.labels[indices])
        places = [samples.store.place(index) for index in indices.tolist()]
        files = [samples.file(index) for index in indices.tolist()]
        assert len(labels) == len(places) == len(files) == BATCH
        if not step:
            seconds["first_batch"] = time.perf_counter() - start
    seconds["batch"] = (time.perf_counter() - start) / BATCHES
    start = time.perf_counter()
    count_images(samples)
    seconds["count"] = time.perf_counter() - start
    drawing = resident()
    start = time.perf_counter()
    fingerprint(samples)
    seconds["fingerprint"] = time.perf_counter() - start
    after = resident()
    return {
        "images": len(samples),
        "shards": len(samples.files),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "megabytes": {"imports": before, "drawing": drawing, "after_fingerprint": after},
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=4000)
    parser.add_argument("--dir", type=Path, help="where the index is written; a temporary folder if left out")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return 0
    with tempfile.TemporaryDirectory(dir=asked.dir) as place:
        write_synthetic(Path(place), asked.images, asked.classes, asked.shards)
        command = [sys.executable, __file__, "--measure", place]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    text = json.dumps(result, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")
    start_seconds = sum(seconds for name, seconds in result["seconds"].items() if name != "batch")
    return int(result["peak_megabytes"] * 2**20 > MOST_BYTES or start_seconds > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
