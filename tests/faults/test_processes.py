"""Several processes: one that dies, freezes, waits or disagrees ends all of them, in time and with one message."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.conftest import ORDERED, Ended, Result, Shell, result_of, saved_steps
from tests.integration.conftest import Run
from vit_cli.data.order import Order

pytestmark = pytest.mark.slow

Whole = Callable[..., Result]

TORCHRUN = "torch.distributed.run"
JOIN = {"VIT_JOIN_SECONDS": "8"}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def place(rank: int, size: int, port: int, address: str = "127.0.0.1") -> dict[str, str]:
    """Write the variables that a launcher sets for one of its processes."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    return {"MASTER_ADDR": address, **{name: str(number) for name, number in numbers.items()}}


@pytest.mark.long
@pytest.mark.parametrize("rank", [1, 0])
@pytest.mark.case("D1")
def test_a_process_that_is_killed_ends_all_and_is_named(shell: Shell, whole: Whole, rank: int) -> None:
    ended = shell.train(processes=2, fault=f"kill@step=8,rank={rank}")
    assert ended.code == 5, ended
    assert f"process {rank} was killed by SIGKILL" in ended.err
    assert ended.err.count("Error:") == 1
    assert saved_steps(shell.run)[0] == 6
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2)


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.fault)])
@pytest.mark.case("D2")
def test_a_frozen_process_ends_all_and_is_named(shell: Shell, whole: Whole, rank: int) -> None:
    ended = shell.train(processes=2, fault=f"stop@step=8,rank={rank}", VIT_SILENCE_SECONDS="5", limit=120)
    assert ended.code == 5, ended
    assert f"process {rank} gave no sign of life for 5 s" in ended.err
    assert ended.err.count("Error:") == 1
    assert json.loads((shell.run / "status.json").read_text())["status"] in ("failed", "running")
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.fault)])
@pytest.mark.case("D3", "V7")
def test_a_loader_that_is_killed_ends_the_run_with_the_likely_reason(
    shell: Shell, whole: Whole, processes: int
) -> None:
    ended = shell.train(processes=processes, fault=f"kill@point=loader,step=14,rank={processes - 1}")
    assert ended.code == 3, ended
    assert "a process that loads images died" in ended.err
    assert "memory ran out" in ended.err
    assert ended.err.count("Error:") == 1
    assert shell.resume(processes=processes).code == 0
    assert result_of(shell.run) == whole(processes)


@pytest.mark.fault
@pytest.mark.case("D4")
def test_a_loader_that_hangs_is_reported_and_then_ends_the_run(shell: Shell, whole: Whole) -> None:
    ended = shell.train("data.timeout=9", fault="sleep=600@point=loader,step=14")
    assert ended.code == 3, ended
    assert "no images came for 9 s" in ended.err
    log = (shell.run / "train.log").read_text()
    assert "process 0 has waited" in log
    assert "its 2 workers are alive" in log
    assert shell.resume().code == 0
    assert result_of(shell.run) == whole()


@pytest.mark.fault
@pytest.mark.case("D4")
def test_waiting_for_images_is_no_hang(shell: Shell, whole: Whole) -> None:
    ended = shell.train(
        "data.timeout=60", processes=2, fault="sleep=8@point=loader,step=14,rank=1", VIT_SILENCE_SECONDS="5"
    )
    assert ended.code == 0, ended
    assert "process 1 has waited" in (shell.run / "train.log").read_text()
    assert result_of(shell.run) == whole(2)


@pytest.mark.fault
@pytest.mark.case("D5")
def test_a_process_that_holds_pythons_lock_for_long_is_waited_for(shell: Shell, whole: Whole) -> None:
    ended = shell.train(processes=2, fault="gil=20@step=8,rank=1")
    assert (ended.code, ended.err) == (0, "")
    assert result_of(shell.run) == whole(2)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            [
                *(f"data.{part}={{name: synthetic, images: 3, classes: 3}}" for part in ("train", "val")),
                "train.batch_size=4",
            ],
            "4 is more than the 3 training images",
        ),
        (["train.batch_size=2"], "a global batch of 2 can't be divided among 4 processes"),
    ],
    ids=["images", "batch"],
)
@pytest.mark.case("D6")
def test_too_little_for_so_many_processes_is_refused_with_the_numbers(
    shell: Shell, changes: list[str], told: str
) -> None:
    ended = shell.train(*changes, processes=4)
    assert ended.code == 2, ended
    assert told in ended.err
    assert ended.err.count("Error:") == 1
    assert not shell.run.exists()


@pytest.mark.case("D7")
def test_an_epoch_that_no_batch_ends_with_shows_each_image_once() -> None:
    order = Order(images=97, seed=0, batch_size=8)
    parts = [order.draws(step, 4 * rank, 4 * rank + 4) for step in range(97) for rank in range(2)]
    epochs, indices = (np.concatenate([getattr(part, name) for part in parts]) for name in ("epochs", "indices"))
    for epoch in range(8):
        assert sorted(indices[epochs == epoch]) == list(range(97))


@pytest.mark.fault
@pytest.mark.case("D7")
def test_1001_images_are_judged_once_each_on_any_number_of_processes(vit: Run, shell: Shell, recipe: Path) -> None:
    val = "data.val={name: synthetic, images: 1001, classes: 4}"
    train = "data.train={name: synthetic, images: 96, classes: 4}"
    assert vit("train", recipe, train, val, "data.workers=0", "train.steps=8", "--out", shell.run, "-q").code == 0
    judged = [judge_on(shell, processes) for processes in (1, 2, 4)]
    assert [scores["images"] for scores, _ in judged] == [1001] * 3
    assert [scores["top1"] for scores, _ in judged] == [judged[0][0]["top1"]] * 3
    for scores, answers in judged[1:]:
        assert scores["loss"] == pytest.approx(judged[0][0]["loss"], abs=1e-6)
        assert answers == judged[0][1]


def judge_on(shell: Shell, processes: int) -> tuple[dict[str, Any], list[list[str]]]:
    """Evaluate the run on so many processes; give its scores, and image, class and answer of each image, in order."""
    table = shell.folder / f"{processes}.csv"
    ended = shell("eval", shell.run, "--json", "--devices", processes, "--predictions", table)
    assert (ended.code, ended.err) == (0, ""), ended
    with table.open(newline="") as file:
        return json.loads(ended.out), [row[:3] for row in csv.reader(file)]


@pytest.mark.fault
@pytest.mark.case("D8")
def test_processes_that_were_not_asked_for_the_same_are_refused(shell: Shell) -> None:
    port = free_port()
    first = shell.start(*shell.words(), **place(0, 2, port))
    second = shell.start(*shell.words("optim.lr=1e-3"), **place(1, 2, port))
    ends = [shell.wait(first), shell.wait(second)]
    assert [end.code for end in ends] == [2, 2], ends
    assert "process 1 has another recipe or vit than process 0" in ends[0].err
    assert not shell.run.exists()


@pytest.mark.fault
@pytest.mark.case("D9")
def test_what_only_the_first_process_can_not_write_ends_all(shell: Shell, whole: Whole) -> None:
    ended = shell.train(processes=2, fault="enospc@point=ckpt_mid_file,step=12,rank=0")
    assert ended.code == 5, ended
    assert "step-000012.pt can't be written" in ended.err
    assert "No space left on device" in ended.err
    assert ended.err.count("Error:") == 1
    assert saved_steps(shell.run) == [6, 8]
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2)


def alone(shell: Shell, rank: int, port: int, address: str) -> Ended:
    """Start one of two processes whose other one does not come, and wait until it gives up."""
    ended = shell.wait(shell.start(*shell.words(), **place(rank, 2, port, address), **JOIN), limit=90)
    assert ended.code == 5, ended
    assert f"process {rank} of 2 did not meet the others at {address}:{port} within 8 s" in ended.err
    return ended


@pytest.mark.fault
@pytest.mark.case("D10")
def test_processes_that_do_not_meet_say_where_they_waited(shell: Shell) -> None:
    alone(shell, 0, free_port(), "127.0.0.1")
    alone(shell, 1, free_port(), "127.0.0.1")
    alone(shell, 1, free_port(), "nowhere.invalid")
    assert not shell.run.exists()


@pytest.mark.case("D10")
def test_processes_whose_launcher_dies_before_they_met_end_too(shell: Shell) -> None:
    launcher = shell.start(*shell.words(processes=2))
    shell.wait_for(lambda: len(shell.alive()) > 2, launcher)  # the processes are there, and still import torch
    launcher.kill()
    assert shell.wait(launcher).code == -signal.SIGKILL
    shell.close()  # nothing that waits for others who can't come is left


@pytest.mark.fault
@pytest.mark.case("D10")
def test_a_port_that_another_program_has_is_named(shell: Shell) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = alone(shell, 0, other.getsockname()[1], "127.0.0.1")
    assert "its port free" in ended.err
    assert ended.seconds < 60


def agents(shell: Shell, *words: object, folders: tuple[Path, Path]) -> list[Ended]:
    """Run a command on two machines, each with a torchrun of its own, which meet at one port; here both are this one."""
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}", "--rdzv-id", "test"]
    common = ["--nnodes", 2, "--nproc-per-node", 1, *meeting, "--local-addr", "localhost", "-m", "vit_cli"]
    started = []
    for folder in folders:
        inside = [word if word is not Path else folder for word in words]
        started.append(shell.start(*common, *inside, "-q", module=TORCHRUN, **JOIN))
    return [shell.wait(process, tracebacks=True) for process in started]  # torchrun's own


@pytest.mark.fault
@pytest.mark.case("D11")
def test_two_launchers_train_together_as_one_does(shell: Shell, whole: Whole) -> None:
    ends = agents(shell, "train", shell.recipe, "--out", shell.run, folders=(shell.run, shell.run))
    assert [end.code for end in ends] == [0, 0], ends
    assert json.loads((shell.run / "plan.json").read_text())["processes"] == 2
    assert result_of(shell.run) == whole(2)


@pytest.mark.fault
@pytest.mark.case("D11")
def test_machines_that_do_not_share_the_run_folder_are_refused(shell: Shell, whole: Whole) -> None:
    assert shell.train(processes=2, fault="term@step=14").code == 143
    other = shell.folder / "other"
    shutil.copytree(shell.run, other, symlinks=True)
    max(other.glob("checkpoints/step-*.pt")).unlink()
    ends = agents(shell, "resume", Path, folders=(shell.run, other))
    assert all(end.code for end in ends), ends
    assert any("process 1 has another recipe or newest checkpoint" in end.err for end in ends), ends
    assert any("must lie on a file system that all machines share" in end.err for end in ends), ends
    assert shell.resume(processes=2).code == 0
    assert result_of(shell.run) == whole(2)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.fault)])
@pytest.mark.case("R19")
def test_the_same_batch_gives_the_same_losses_on_any_number_of_processes(whole: Whole, processes: int) -> None:
    one, several = whole(1, *ORDERED), whole(processes, *ORDERED)
    assert [step[0] for step in several.steps] == list(range(1, 25))
    assert [step[1] for step in several.steps] == pytest.approx([step[1] for step in one.steps], abs=1e-5)
