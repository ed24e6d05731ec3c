"""The peer's arm of scripts/bench_input.py: timm's own data set, transforms and loader, as its train.py calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from scripts.bench_arms import Figures, watch
from scripts.bench_input_works import FEEDERS, WARM_UP, Extent, Place, Work
from scripts.bench_loops import CPU, endless, train_peer

CLASSES = 10


def measure_peer(work: Work, place: Place, extent: Extent) -> Figures:
    """Measure timm at one work."""
    loader = open_loader(work, place, FEEDERS if work.measures == "wall" else 1)
    if work.measures == "train":
        from timm import create_model

        model = create_model("vit_tiny_patch16_224", img_size=work.res, patch_size=4, num_classes=CLASSES)
        return {"train": train_peer(model, loader, work.precision, CLASSES, extent.steps, WARM_UP)}
    return watch(images_of(loader, again=not work.judged), WARM_UP, extent.batches_of(work))


def images_of(loader: Any, again: bool) -> Iterator[Tensor]:
    """Give the normalised images of each batch."""
    for images, _ in endless(loader) if again else loader:
        yield images


def open_loader(work: Work, place: Place, workers: int) -> Any:
    """Open timm's loader, with the prefetcher and the lasting workers that are its defaults."""
    from timm.data import create_loader

    loader = create_loader(
        open_dataset(work, place),
        input_size=(3, work.res, work.res),
        batch_size=work.batch,
        is_training=not work.judged,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=None,
        auto_augment="rand-m9-n2-p1-inc1" if work.policy else None,
        re_prob=0.25 if work.policy else 0.0,
        re_mode="pixel",
        interpolation="bicubic",
        crop_pct=0.875,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        num_workers=workers,
        device=CPU,
    )
    if work.policy:
        sample_bilinearly(loader.dataset.transform)
    return loader


def open_dataset(work: Work, place: Place) -> Any:
    """Open the files that we read too; those of a pack before they were packed."""
    from timm.data import create_dataset

    if work.source == "cifar":
        return create_dataset(f"hfds/{place.cifar}", split="train", is_training=True, input_key="img")
    root = place.large if work.source == "large" else place.photos
    return create_dataset("", root=str(root), split="val" if work.judged else "train", is_training=not work.judged)


def sample_bilinearly(transform: Any) -> None:
    """Have RandAugment's rotations, shears and shifts sample bilinearly, as ours do; timm takes the crop's bicubic filter."""
    from PIL.Image import Resampling
    from timm.data.auto_augment import RandAugment

    policies = [step for step in transform.transforms if isinstance(step, RandAugment)]
    for operation in (operation for policy in policies for operation in policy.ops):
        operation.kwargs["resample"] = Resampling.BILINEAR
