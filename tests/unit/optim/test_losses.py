"""The losses against closed forms, torch's own and scikit-learn's weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from vit_cli.errors import RecipeError
from vit_cli.optim.losses import Absolute, BinaryCrossEntropy, CrossEntropy, Huber, Loss, Squared, weigh_classes

CLASSES = ("bird", "cat", "dog", "fish")
COUNTS = (10, 40, 30, 20)
SMOOTH = 0.1
WEIGHTS = torch.tensor([2.5, 0.625, 2.5 / 3, 1.25])
Section = CrossEntropy | BinaryCrossEntropy
EVERY = [CrossEntropy(), BinaryCrossEntropy(), BinaryCrossEntropy(reduction="mean")]


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Logits (6, 4), class numbers (6,) and soft targets (6, 4)."""
    torch.manual_seed(0)
    return torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 0]), torch.rand(6, 4).softmax(1)


def losses_of(section: Section, logits: Tensor, targets: Tensor) -> Tensor:
    losses: Tensor = section.build(CLASSES, COUNTS)(logits, targets)
    return losses


def smoothed(targets: Tensor) -> Tensor:
    """Smooth soft targets by the definition."""
    return 0.9 * targets + 0.1 / 4


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (CrossEntropy(), math.log(4)),
        (CrossEntropy(label_smoothing=SMOOTH), math.log(4)),
        (BinaryCrossEntropy(), 4 * math.log(2)),
        (BinaryCrossEntropy(reduction="mean"), math.log(2)),
    ],
)
def test_a_model_that_knows_nothing_has_the_known_loss(section: Section, expected: float) -> None:
    losses = losses_of(section, torch.zeros(3, 4), torch.tensor([0, 1, 3]))
    assert losses.tolist() == pytest.approx([expected] * 3)


@pytest.mark.parametrize("smoothing", [0.0, SMOOTH])
def test_softmax_loss_equals_its_definition(smoothing: float) -> None:
    logits, labels, soft = batch()
    section = CrossEntropy(label_smoothing=smoothing)
    log_probabilities = logits - logits.exp().sum(1, keepdim=True).log()
    for targets, shares in [(labels, torch.eye(4)[labels]), (soft, soft)]:
        smooth = smoothed(shares) if smoothing else shares
        torch.testing.assert_close(losses_of(section, logits, targets), -(smooth * log_probabilities).sum(1))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, SMOOTH])
def test_sigmoid_loss_equals_its_definition(smoothing: float, reduction: str) -> None:
    logits, labels, soft = batch()
    section = BinaryCrossEntropy(label_smoothing=smoothing, reduction=reduction)
    probability = 1 / (1 + (-logits).exp())
    for targets, shares in [(labels, torch.eye(4)[labels]), (soft, soft)]:
        smooth = smoothed(shares) if smoothing else shares
        terms = -smooth * probability.log() - (1 - smooth) * (1 - probability).log()
        expected = terms.sum(1) / (1 if reduction == "sum" else 4)
        torch.testing.assert_close(losses_of(section, logits, targets), expected)


def test_weighted_softmax_loss_equals_torchs() -> None:
    logits, labels, _ = batch()
    section = CrossEntropy(label_smoothing=SMOOTH, class_weights="auto")
    expected = F.cross_entropy(logits, labels, WEIGHTS, reduction="none", label_smoothing=SMOOTH)
    torch.testing.assert_close(losses_of(section, logits, labels), expected)


@pytest.mark.parametrize("section", EVERY, ids=repr)
def test_an_image_weighs_what_its_class_weighs(section: Section) -> None:
    logits, labels, _ = batch()
    weighted = section.model_copy(update={"class_weights": "auto"})
    expected = WEIGHTS[labels] * losses_of(section, logits, labels)
    torch.testing.assert_close(losses_of(weighted, logits, labels), expected)


@pytest.mark.parametrize(
    "section",
    [
        CrossEntropy(label_smoothing=SMOOTH),
        CrossEntropy(label_smoothing=SMOOTH, class_weights="auto"),
        BinaryCrossEntropy(label_smoothing=SMOOTH),
    ],
    ids=repr,
)
def test_a_mixed_target_costs_the_mixed_losses(section: Section) -> None:
    logits, labels, _ = batch()
    others = labels.flip(0)
    mixed = 0.3 * torch.eye(4)[labels] + 0.7 * torch.eye(4)[others]
    expected = 0.3 * losses_of(section, logits, labels) + 0.7 * losses_of(section, logits, others)
    torch.testing.assert_close(losses_of(section, logits, mixed), expected)


@pytest.mark.parametrize("weights", ["none", "auto"])
@pytest.mark.parametrize("section", EVERY, ids=repr)
def test_a_class_number_equals_its_one_hot_target(section: Section, weights: str) -> None:
    logits, labels, _ = batch()
    section = section.model_copy(update={"label_smoothing": SMOOTH, "class_weights": weights})
    torch.testing.assert_close(losses_of(section, logits, labels), losses_of(section, logits, torch.eye(4)[labels]))


@pytest.mark.parametrize("section", EVERY, ids=repr)
def test_losses_of_bf16_logits_are_worked_out_in_float32(section: Section) -> None:
    logits, labels, soft = batch()
    for targets in (labels, soft.bfloat16()):
        low = losses_of(section, logits.bfloat16(), targets)
        assert low.dtype == torch.float32
        assert torch.equal(low, losses_of(section, logits.bfloat16().float(), targets))


def test_autocast_does_not_round_the_weights() -> None:
    logits, labels, _ = batch()
    section = BinaryCrossEntropy(class_weights={"dog": 1.001})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = losses_of(section, logits, labels)
    assert torch.equal(inside, losses_of(section, logits, labels))


def test_auto_weights_are_scikit_learns_and_average_to_one() -> None:
    found = weigh_classes("auto", CLASSES, COUNTS)
    assert found is not None
    labels = np.repeat(np.arange(4), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert found.tolist() == pytest.approx(expected.tolist())
    assert found[torch.from_numpy(labels)].mean().item() == pytest.approx(1.0)


def test_classes_without_a_given_weight_weigh_one() -> None:
    found = weigh_classes({"dog": 3.0}, CLASSES, COUNTS)
    assert found is not None
    assert found.tolist() == [1.0, 1.0, 3.0, 1.0]


def test_a_weight_for_an_unknown_class_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match=r"'catt' is no class of the training data\n  did you mean 'cat'\?"):
        CrossEntropy(class_weights={"catt": 2.0}).build(CLASSES, COUNTS)


def test_a_class_without_images_has_no_automatic_weight() -> None:
    with pytest.raises(RecipeError, match="no training image shows 'cat'"):
        CrossEntropy(class_weights="auto").build(CLASSES, (1, 0, 1, 1))


def test_weights_move_with_the_loss_and_are_not_part_of_its_state() -> None:
    loss = CrossEntropy(class_weights="auto").build(CLASSES, COUNTS)
    assert loss.state_dict() == {}
    assert loss.to("meta").weights.device.type == "meta"


def test_a_recipe_names_the_loss() -> None:
    section = TypeAdapter(Loss).validate_python(
        {"name": "binary_cross_entropy", "class_weights": {"cat": 2}, "l1": 1e-5}
    )
    assert isinstance(section, BinaryCrossEntropy)
    assert section.class_weights == {"cat": 2.0}


@pytest.mark.parametrize("bad", [{"label_smoothing": 1.5}, {"class_weights": {"cat": 0.0}}, {"l1": -1.0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Loss).validate_python({"name": "cross_entropy", **bad})


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (Squared(), [0.125, 5.0]),
        (Absolute(), [0.25, 2.0]),
        (Huber(), [0.0625, 1.5]),
        (Huber(delta=0.1), [0.0225, 0.195]),
    ],
)
def test_losses_of_numbers_are_their_definitions(section: Squared | Absolute | Huber, expected: list[float]) -> None:
    predictions, targets = torch.tensor([[0.5, 1.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    losses = section.build(["a", "b"], [0, 0])(predictions.bfloat16(), targets)
    assert losses.dtype == torch.float32
    assert losses.tolist() == pytest.approx(expected)


def test_several_labels_are_as_many_questions() -> None:
    logits, _, _ = batch()
    marks = (torch.arange(24).view(6, 4) % 3 == 0).float()
    losses = losses_of(BinaryCrossEntropy(), logits, marks)
    expected = -(marks * F.logsigmoid(logits) + (1 - marks) * F.logsigmoid(-logits)).sum(1)
    torch.testing.assert_close(losses, expected)
