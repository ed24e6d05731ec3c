"""Broken training images: replaced one for one, written down, counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from vit_cli.errors import DataError, TrainingError


@dataclass(frozen=True)
class Bad:
    """A broken image: its place in the training images, its path, and why it can't be used."""

    index: int
    path: str
    reason: str


class BadImageLog:
    """Writes each broken image once into a file of JSON lines, and stops the run when there are too many.

    At most a share `max_bad` of `images` may be broken, rounded down; one image is always allowed unless `max_bad` is
    0. If it `resumes`, what is in the file counts. Of several processes, which record the same, only one `writes`.
    """

    def __init__(self, path: Path, images: int, max_bad: float, resumes: bool = True, writes: bool = True) -> None:
        self.path = path
        self.images = images
        self.allowed = max(1, int(max_bad * images)) if max_bad > 0 else 0
        self.writes = writes
        self.reasons: dict[int, str] = dict(read_log(path)) if resumes and path.exists() else {}

    @property
    def count(self) -> int:
        """How many different images are broken."""
        return len(self.reasons)

    def record(self, bad: Iterable[Bad]) -> None:
        """Add what is new. Raises DataError, after writing it down, if that is too many."""
        new = {item.index: item for item in bad if item.index not in self.reasons}
        if not new:
            return
        self.reasons.update((item.index, item.reason) for item in new.values())
        if self.writes:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(item)) + "\n" for item in new.values())
            except OSError as error:
                raise TrainingError(f"{self.path} can't be written: {error.strerror}", "Is the disk full?") from error
        if self.count > self.allowed:
            kinds = Counter(reason.partition(":")[0] for reason in self.reasons.values())
            summary = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            raise DataError(
                f"{self.count} of {self.images} training images are broken, at most {self.allowed} may be ({summary})",
                f"they are listed in {self.path}; mend or remove them, or raise data.max_bad",
            )


def read_log(path: Path) -> Iterable[tuple[int, str]]:
    """Give index and reason of each line; a last line that a crash cut off is left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            item = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield item["index"], item["reason"]
