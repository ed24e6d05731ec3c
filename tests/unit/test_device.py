"""Devices, precision and seeds; what needs a GPU is in tests/gpu."""

from __future__ import annotations

import os
import resource

import pytest
import torch

from vit_cli.device import (
    autocast,
    choose_device,
    choose_precision,
    describe_device,
    fetch,
    peak_memory_gib,
    seed_all,
    send,
    set_determinism,
)
from vit_cli.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch say that this machine has two GPUs; none is touched."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("devices", ["auto", "cpu", "1", "4"])
def test_without_a_gpu_every_process_gets_the_cpu(devices: str) -> None:
    assert [choose_device(devices, rank) for rank in range(3)] == [CPU] * 3


@pytest.mark.usefixtures("two_gpus")
def test_each_process_gets_a_gpu_of_its_own() -> None:
    assert [str(choose_device("auto", rank)) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert [str(choose_device("2", rank)) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert [str(choose_device("1,0", rank)) for rank in (0, 1)] == ["cuda:1", "cuda:0"]
    assert choose_device("cpu", 1) == CPU


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("devices", "rank"), [("3", 2), ("auto", 2), ("1,2", 1), ("0,1,2,3,4,5,6,7", 7)])
def test_a_gpu_that_is_not_there_is_refused(devices: str, rank: int) -> None:
    with pytest.raises(UsageError, match=r"there is no GPU \d: this machine shows 2"):
        choose_device(devices, rank)


@pytest.mark.usefixtures("no_gpu")
def test_gpus_of_a_machine_without_any_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no GPU 0: this machine shows 0"):
        choose_device("0,1")


@pytest.mark.parametrize("devices", ["gpu", "", "0,", "-1", "0;1", "1.5", "cuda:0", "0, 1"])
def test_anything_else_is_not_understood(devices: str) -> None:
    with pytest.raises(UsageError, match="is not understood") as caught:
        choose_device(devices)
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("devices", "rank"), [("0,0", 1), ("0,00", 0), ("0,1", 2)])
def test_a_list_must_hold_a_gpu_for_each_process(devices: str, rank: int) -> None:
    with pytest.raises(UsageError, match="does not name a GPU for each process"):
        choose_device(devices, rank)


def test_precision_is_what_was_asked() -> None:
    assert choose_precision("bf16", CPU, width=8) == "bf16"
    assert choose_precision("fp32", torch.device("cuda", 0), width=768) == "fp32"


@pytest.mark.parametrize("can", [True, False])
@pytest.mark.parametrize("instructions", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_auto_is_bf16_for_wide_models_on_cpus_that_compute_in_it(
    monkeypatch: pytest.MonkeyPatch, instructions: str, can: bool
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: can and name == instructions)
    assert choose_precision("auto", CPU, width=192) == ("bf16" if can else "fp32")
    assert choose_precision("auto", CPU, width=191) == "fp32"
    assert choose_precision("auto", CPU, width=0) == "fp32"


def test_auto_is_float32_on_a_gpu_that_only_imitates_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_precision("auto", torch.device("cuda", 0), width=768) == "fp32"


def test_autocast_makes_products_bf16_and_leaves_weights_alone() -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, "bf16"):
        assert layer(torch.zeros(1, 4)).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert layer(torch.zeros(1, 4)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


def draw(*parts: int) -> list[float]:
    seed_all(*parts)
    return torch.rand(4).tolist()


def test_what_follows_a_seed_depends_on_its_parts_alone() -> None:
    first = draw(1, 2, 3)
    torch.rand(17)
    assert draw(1, 2, 3) == first


def test_other_parts_give_other_numbers() -> None:
    parts = [(0,), (1,), (0, 0), (1, 2), (2, 1), (12,), (1, 23), (12, 3), (-1,), (2**70,)]
    assert len({tuple(draw(*some)) for some in parts}) == len(parts)


def test_determinism_can_be_switched_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    set_determinism(True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.are_deterministic_algorithms_enabled()
    set_determinism(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_cpu_describes_itself_and_its_memory() -> None:
    assert describe_device(CPU) == f"CPU, {torch.get_num_threads()} threads"
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 0.02 < peak_memory_gib(CPU) < 1024
    assert peak_memory_gib(CPU) * 2**30 >= kib


def test_numbers_travel_to_the_device_and_back() -> None:
    sent = send([1.0, False, True], torch.device("cpu"))
    assert sent.dtype == torch.float32
    assert fetch(sent)() == [1.0, 0.0, 1.0]
