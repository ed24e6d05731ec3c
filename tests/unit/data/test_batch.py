"""Images are put together to the bit, and a batch travels whole."""

from __future__ import annotations

import pickle

import pytest
import torch

from vit_cli.data.bad import Bad
from vit_cli.data.batch import Batch, Stages, stack


@pytest.mark.parametrize("rows", [slice(None), slice(2, 7)])
def test_images_of_any_layout_are_stacked_as_torch_does_it(rows: slice) -> None:
    pixels = torch.randint(0, 256, (5, 9, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    side_by_side = [image.permute(2, 0, 1)[:, rows, 1:7] for image in pixels]
    planes = [image.contiguous() for image in side_by_side]
    for images in (side_by_side, planes, [*side_by_side[:2], *planes[2:]]):
        stacked = stack(images)
        assert torch.equal(stacked, torch.stack(planes))
        assert stacked.is_contiguous()


def test_a_batch_travels_whole() -> None:
    images = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 2, 2)
    labels = torch.tensor([[0.5, 1.0], [2.0, -1.0]])
    sent = Batch(images, labels, torch.tensor([4, 5]), torch.tensor([0, 1]), (Bad(3, "a", "b"),), Stages(1.0))
    came = pickle.loads(pickle.dumps(sent))
    for name in ("images", "labels", "indices", "epochs"):
        torch.testing.assert_close(getattr(came, name), getattr(sent, name), rtol=0, atol=0)
    assert (came.bad, came.seconds) == (sent.bad, sent.seconds)
