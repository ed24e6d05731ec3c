"""Write some held-out digits as PNG files, to have something to predict: write_digits.py FOLDER [COUNT]."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vit_cli.data.digits import Digits
from vit_cli.data.open import open_splits
from vit_cli.data.split import Parting


def main(folder: Path, count: int = 10) -> None:
    """Write the first `count` held-out digits; their names say what they are."""
    held_out = open_splits(Digits(), None, Parting(0.2)).val
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        label = held_out.classes[held_out.labels[index]]
        Image.fromarray(np.asarray(held_out.read(index))).save(folder / f"scan{index:03d}_is_{label}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
