"""Parts of tensors; several processes are in tests/unit/dist/test_shard.py."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

from vit_cli.optim.parts import own


def test_what_is_done_to_the_own_part_is_done_to_the_tensor() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        plain = torch.arange(3.0)
        parted = distribute_tensor(torch.arange(4.0), init_device_mesh("cpu", (1,)))
        first, second = own([plain, parted])
        assert first is plain
        torch._foreach_add_([second], 1.0)
        assert parted.full_tensor().tolist() == [1.0, 2.0, 3.0, 4.0]
    finally:
        dist.destroy_process_group()
