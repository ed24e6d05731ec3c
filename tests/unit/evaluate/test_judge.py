"""All that can be asked about a saved model: flips, resolutions, harmed images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.unit.evaluate.test_saved import ALONE, save
from vit_cli.augment.corruptions import KINDS, Corruption
from vit_cli.data.samples import Samples
from vit_cli.data.synthetic import Synthetic
from vit_cli.errors import UsageError
from vit_cli.evaluate.judge import Asked, check_asked, judge
from vit_cli.evaluate.mirror import Mirrored
from vit_cli.evaluate.robustness import Robustness, read_kinds
from vit_cli.evaluate.runnable import Runnable
from vit_cli.evaluate.saved import Ready, check_resolutions, evaluate_saved, make_ready
from vit_cli.section import Scale

pytestmark = pytest.mark.slow


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    ready = save(tmp_path / "model")
    torch.nn.init.normal_(ready.model.get_submodule("head").weight)
    ready.saved.weights.update(ready.model.state_dict())
    return ready


@pytest.fixture
def samples() -> Samples:
    return Synthetic(images=40, classes=2, size=8).open()


def runnable(ready: Ready) -> Runnable:
    return Runnable(ready.saved, partial(make_ready, ready.saved, ALONE), partial(check_resolutions, ready.saved))


def note_nothing(_text: str) -> None:
    """Leave notes unread."""


def test_flips_average_the_logits_of_both_sides(ready: Ready) -> None:
    images = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        expected = torch.stack([ready.model(images), ready.model(images.flip(3))]).mean(0)
        torch.testing.assert_close(Mirrored(ready.model)(images), expected)
        torch.testing.assert_close(Mirrored(ready.model)(images.flip(3)), expected)


def test_flips_change_the_evaluation(ready: Ready, samples: Samples) -> None:
    plain, flipped = (evaluate_saved(ready, samples, ALONE, flips=flips).scores["loss"] for flips in (False, True))
    assert plain != flipped


def test_each_resolution_is_judged_as_if_alone(ready: Ready, samples: Samples) -> None:
    asked = Asked(resolutions=(8, 16, None))
    together = [each.facts() for each in judge(runnable(ready), samples, ALONE, asked, note_nothing)]
    alone = [
        next(judge(runnable(ready), samples, ALONE, replace(asked, resolutions=(res,)), note_nothing)).facts()
        for res in asked.resolutions
    ]
    assert [facts["res"] for facts in together] == [[8, 8], [16, 16], [8, 8]]
    for key in ("top1", "loss", "ece", "macro_f1", "images"):
        assert [facts[key] for facts in together] == [facts[key] for facts in alone]
    assert together[0]["loss"] != together[1]["loss"]


def test_all_resolutions_that_do_not_fit_are_told_at_once(ready: Ready) -> None:
    with pytest.raises(UsageError) as caught:
        check_asked(Asked(resolutions=(9, 8, 15)), runnable(ready))
    assert "--res 9: 9 is not a multiple of patch 4" in caught.value.problem
    assert "--res 15: 15 is not a multiple of patch 4; the nearest are 12 and 16" in caught.value.problem


def test_robustness_is_the_score_of_images_that_were_harmed_before(ready: Ready, samples: Samples) -> None:
    asked = Asked(corruptions=("noise", "contrast"))
    (judged,) = judge(runnable(ready), samples, ALONE, asked, note_nothing)
    assert judged.robustness is not None
    assert list(judged.robustness.kinds) == ["noise", "contrast"]
    for kind, scores in judged.robustness.kinds.items():
        for strength, score in enumerate(scores, start=1):
            right = 0
            for index in range(len(samples)):
                image = torch.from_numpy(samples.read(index)).permute(2, 0, 1)
                harmed = Corruption(kind, strength)(ready.transform(image), index)
                with torch.no_grad():
                    right += int(ready.model(ready.prepare(harmed[None])).argmax() == samples.labels[index])
            assert score == pytest.approx(100 * right / len(samples))


def test_the_total_is_the_mean_of_the_kinds_means() -> None:
    found = Robustness("top1", {"noise": (50.0, 40, 30, 20, 10), "blur": (90.0, 90, 90, 90, 90)})
    assert found.mean("noise") == 30
    assert found.total == 60
    assert found.facts()["kinds"]["blur"] == {"strengths": [90.0] * 5, "mean": 90}


def test_kinds_are_named_in_any_order_and_unknown_ones_told_at_once() -> None:
    assert read_kinds("blur, noise,blur") == ("blur", "noise")
    assert read_kinds("all") == tuple(KINDS)
    for text in ("", "fog,noise,Blur"):
        with pytest.raises(UsageError, match="unknown") as caught:
            read_kinds(text)
    assert "'fog', 'Blur'" in caught.value.problem
    assert "pixelate" in caught.value.hint


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_real_is_for_classes(tmp_path: Path, task: str) -> None:
    about = {"scale": Scale(mean=(0.0, 0.0), std=(1.0, 1.0)).model_dump(mode="json")} if task == "regression" else {}
    ready = save(tmp_path, task=task, **about)
    with pytest.raises(UsageError, match=f"one class of an image; this one learned {task}"):
        check_asked(Asked(real=tmp_path / "real.json"), runnable(ready))
