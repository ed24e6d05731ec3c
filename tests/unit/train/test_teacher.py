"""A teacher sees and answers as it was trained to, whatever its student's resolution, normalisation and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from vit_cli.augment.preprocess import Preprocess, normalise
from vit_cli.checkpoint.model import write_model
from vit_cli.data.imagenet import imagenet_names
from vit_cli.dist.world import World
from vit_cli.errors import CheckpointError
from vit_cli.evaluate.saved import get_ready
from vit_cli.models.teacher import TorchvisionTeacher
from vit_cli.models.vit import Vit
from vit_cli.section import Grid
from vit_cli.train.teacher import Student, Teacher, open_teacher

ALONE = World(0, 1, torch.device("cpu"))
NAMES = ("ant", "bee", "cat")
OWN = Preprocess(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
THEIRS = Preprocess(mean=(0.5, 0.4, 0.6), std=(0.2, 0.3, 0.25))


def student(classes: tuple[str, ...] = NAMES, preprocess: Preprocess = THEIRS, res: Grid = Grid(8, 8)) -> Student:
    return Student(classes, preprocess, res)


def pictures(res: int = 8) -> Tensor:
    return torch.randint(0, 256, (2, 3, res, res), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def write(folder: Path, seed: int = 0, **about: Any) -> Path:
    """Write a tiny model whose every weight matters, for three classes."""
    torch.manual_seed(seed)
    section = Vit(width=8, depth=1, heads=1, patch=4, res=8, dropout=0.5)
    weights = {name: torch.randn_like(weight) for name, weight in section.build(3).state_dict().items()}
    known = {
        "model": section.model_dump(mode="json"),
        "res": [8, 8],
        "class_names": list(NAMES),
        "preprocess": THEIRS.model_dump(mode="json"),
    }
    write_model(folder, weights, known | about)
    return folder


def write_torchvision(path: Path, classes: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(0)
    weights: dict[str, Tensor] = torchvision.models.resnet18(num_classes=classes).state_dict()
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return weights


def answer(teacher: Teacher, own: Preprocess, res: int = 8) -> Tensor:
    return teacher(normalise(pictures(res), own))


def test_a_teacher_answers_as_the_saved_model_does(tmp_path: Path) -> None:
    ready = get_ready(write(tmp_path), ALONE)
    teacher = open_teacher(tmp_path, student(), ALONE)
    torch.testing.assert_close(answer(teacher, THEIRS), ready.model(ready.prepare(pictures())))


def test_a_teacher_sees_pictures_in_its_own_normalisation(tmp_path: Path) -> None:
    ready = get_ready(write(tmp_path), ALONE)
    teacher = open_teacher(tmp_path, student(preprocess=OWN), ALONE)
    torch.testing.assert_close(answer(teacher, OWN), ready.model(ready.prepare(pictures())), rtol=1e-4, atol=1e-4)


def test_a_teacher_is_stretched_to_the_students_resolution(tmp_path: Path) -> None:
    ready = get_ready(write(tmp_path), ALONE, res=16)
    teacher = open_teacher(tmp_path, student(res=Grid(16, 16)), ALONE)
    torch.testing.assert_close(answer(teacher, THEIRS, res=16), ready.model(ready.prepare(pictures(16))))


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    """In another order, and without those that the student does not have."""
    ready = get_ready(write(tmp_path), ALONE)
    teacher = open_teacher(tmp_path, student(classes=("cat", "ant")), ALONE)
    torch.testing.assert_close(answer(teacher, THEIRS), ready.model(ready.prepare(pictures()))[:, [2, 0]])


def test_imagenets_folders_are_matched_with_its_names(tmp_path: Path) -> None:
    """Imported weights name the classes, the folders have WordNet's numbers."""
    section = Vit(width=8, depth=1, heads=1, patch=4, res=8)
    weights = section.build(1000).state_dict() | {"head.bias": torch.arange(1000.0)}
    about = {"model": section.model_dump(mode="json"), "res": [8, 8], "class_names": list(imagenet_names())}
    write_model(tmp_path, weights, about | {"preprocess": THEIRS.model_dump(mode="json")})
    teacher = open_teacher(tmp_path, student(classes=tuple(f"n{number:08}" for number in range(1000))), ALONE)
    assert answer(teacher, THEIRS).argmax(dim=1).tolist() == [999, 999]


def test_a_teacher_neither_learns_nor_varies(tmp_path: Path) -> None:
    teacher = open_teacher(write(tmp_path), student(), ALONE)
    images = normalise(pictures(), THEIRS).requires_grad_()
    assert not teacher(images).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
    assert torch.equal(teacher(images), teacher(images)), "its dropout is off"


def test_a_digest_is_that_of_the_weights_wherever_they_lie(tmp_path: Path) -> None:
    one, copy, other = (write(tmp_path / name, seed) for name, seed in (("one", 0), ("copy", 0), ("other", 1)))
    digests = [open_teacher(path, student(), ALONE).digest for path in (one, copy, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["teacher.pth", "teacher.safetensors"])
def test_a_model_of_torchvision_answers_from_a_file(tmp_path: Path, name: str) -> None:
    network = torchvision.models.resnet18(num_classes=3)
    network.load_state_dict(write_torchvision(tmp_path / name))
    choice = TorchvisionTeacher(model="resnet18", weights=tmp_path / name)
    teacher = open_teacher(choice, student(preprocess=OWN, res=Grid(32, 32)), ALONE)
    imagenet = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    expected = network.eval()(normalise(pictures(32), imagenet))
    torch.testing.assert_close(answer(teacher, OWN, res=32), expected, rtol=1e-4, atol=1e-4)


def refusal(choice: TorchvisionTeacher | Path, asks: Student) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        open_teacher(choice, asks, ALONE)
    return caught.value


def test_a_class_that_a_teacher_lacks_is_named(tmp_path: Path) -> None:
    error = refusal(write(tmp_path), student(classes=("ant", "dog", "cat", "eel")))
    assert "does not know the class 'dog' and 1 more" in error.problem
    assert "ant, bee, cat" in error.hint
    assert f"vit finetune {tmp_path} --data DIR" in error.hint


def test_a_teacher_for_another_task_is_refused(tmp_path: Path) -> None:
    assert "multilabel" in refusal(write(tmp_path, task="multilabel"), student()).problem


def test_a_missing_teacher_says_how_to_make_it_or_to_name_another(tmp_path: Path) -> None:
    error = refusal(tmp_path / "smoke", student())
    assert f"there is no teacher {tmp_path / 'smoke'}" in error.problem
    assert f"vit train smoke --out {tmp_path / 'smoke'}" in error.hint
    assert "distill.teacher=PATH" in error.hint
    assert "distill.teacher={name: torchvision, model: resnet18, weights: FILE}" in error.hint
    assert "vit train" not in refusal(tmp_path / "nothing-of-ours", student()).hint
    weights = TorchvisionTeacher(model="resnet18", weights=tmp_path / "gone.pth")
    assert "distill.teacher.weights=" in refusal(weights, student()).hint


def test_a_teacher_whose_patches_do_not_fit_is_refused(tmp_path: Path) -> None:
    problem = refusal(write(tmp_path), student(res=Grid(10, 10))).problem
    assert "10x10 pixels" in problem
    assert "multiple of patch 4" in problem


def test_a_model_of_torchvision_for_another_size_is_refused(tmp_path: Path) -> None:
    weights = torchvision.models.squeezenet1_1(num_classes=3).state_dict()
    torch.save(weights, tmp_path / "squeezenet1_1.pth")
    choice = TorchvisionTeacher(model="squeezenet1_1", weights=tmp_path / "squeezenet1_1.pth")
    assert "can't take images of 8x8 pixels" in refusal(choice, student()).problem


def test_a_model_of_torchvision_for_other_classes_is_refused(tmp_path: Path) -> None:
    write_torchvision(tmp_path / "teacher.pth", classes=5)
    error = refusal(TorchvisionTeacher(model="resnet18", weights=tmp_path / "teacher.pth"), student())
    assert "fc.weight: 5x512 in the file, 3x512 in the model" in error.problem
    assert "3 classes" in error.hint


def test_a_teacher_sees_the_images_of_all_phases(tmp_path: Path) -> None:
    ready = get_ready(write(tmp_path), ALONE, res=4)
    teacher = open_teacher(tmp_path, Student(NAMES, THEIRS, Grid(8, 8), (Grid(4, 4), Grid(8, 8))), ALONE)
    torch.testing.assert_close(answer(teacher, THEIRS, res=4), ready.model(ready.prepare(pictures(4))))
    assert answer(teacher, THEIRS).shape == (2, 3)


def test_a_teacher_that_is_bound_to_its_grid_is_refused_for_phases(tmp_path: Path) -> None:
    section = Vit(width=8, depth=1, heads=1, patch=4, res=8, positions="relative")
    about = {"model": section.model_dump(mode="json"), "res": [8, 8], "class_names": list(NAMES)}
    write_model(tmp_path, section.build(3).state_dict(), about | {"preprocess": THEIRS.model_dump(mode="json")})
    assert open_teacher(tmp_path, student(), ALONE)
    error = refusal(tmp_path, Student(NAMES, THEIRS, Grid(8, 8), (Grid(4, 4),)))
    assert "can't take images of 4x4 pixels" in error.problem
    assert "train.phases" in error.hint
