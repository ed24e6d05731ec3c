"""The model card."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from vit_cli.evaluate.evaluate import Evaluation
from vit_cli.recipe.load import load_recipe, to_yaml
from vit_cli.report.card import write_card
from vit_cli.report.record import read_record
from vit_cli.train.folder import RunFolder


def header(card: str) -> dict[str, Any]:
    """Read the YAML between the first two lines of dashes."""
    content: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return content


def test_the_hub_finds_the_metrics_as_shares(folder: RunFolder, evaluation: Evaluation) -> None:
    about = header(write_card(read_record(folder), evaluation))
    assert about["pipeline_tag"] == "image-classification"
    assert "license" not in about
    (model,) = about["model-index"]
    assert model["name"] == "pets & more"
    metrics = {metric["name"]: metric["value"] for metric in model["results"][0]["metrics"]}
    assert metrics == {"top-1 accuracy": 0.833333}, "three classes: top-5 says nothing"


@pytest.mark.parametrize(("classes", "told"), [(5, False), (6, True)])
def test_top5_is_told_where_more_than_five_classes_leave_it_open(
    folder: RunFolder, evaluation: Evaluation, classes: int, told: bool
) -> None:
    names = [f"class {number}" for number in range(classes)]
    folder.write_json("model/config.json", folder.read_json("model/config.json") | {"class_names": names})
    card = write_card(read_record(folder), evaluation)
    assert [name in card for name in ("| top-5 | 100.00 % |", "top-5 accuracy")] == [told, told]
    assert "| top-1 | 83.33 % |" in card


def test_the_hubs_own_parser_reads_the_results(folder: RunFolder, evaluation: Evaluation) -> None:
    data = ModelCard(write_card(read_record(folder), evaluation)).data
    assert data.model_name == "pets & more"
    about = data.to_dict()
    assert (about["library_name"], about["pipeline_tag"]) == ("vit-cli", "image-classification")
    assert data.metrics == ["accuracy"]
    results = [
        (one.task_type, one.dataset_name, one.dataset_split, one.metric_name, one.metric_value)
        for one in data.eval_results
    ]
    assert results == [
        ("image-classification", "folder", "validation", "top-1 accuracy", 0.833333),
    ]


def test_the_card_says_how_an_image_is_brought_to_the_model(folder: RunFolder) -> None:
    preprocess = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop": 0.875,
        "resize": "short",
        "interpolation": "bicubic",
    }
    config = folder.read_json("model/config.json") | {"preprocess": preprocess}
    folder.write_json("model/config.json", config)
    folder.write_json("plan.json", {"images": 1234})
    card = write_card(read_record(folder), None)
    assert "RGB, 8x8 pixels: its shorter side resized, the middle cropped (bicubic; 87.5 % of it stay)" in card
    assert "trained on 1,234 images" in card


def test_what_is_not_as_in_the_shipped_recipe_is_listed(folder: RunFolder) -> None:
    folder.write_text("recipe.yaml", "# vit train digits train.epochs=7 --name mine\n")
    folder.write_text("resolved.yaml", to_yaml(load_recipe("digits", ["train.epochs=7"]).recipe))
    card = write_card(read_record(folder), None)
    assert card.partition("Not as in the shipped recipe `digits`:")[2].startswith("\n\n- train.epochs: 100 -> 7\n\n##")


def test_the_card_has_results_recipe_commands_and_files(folder: RunFolder, evaluation: Evaluation) -> None:
    card = write_card(read_record(folder), evaluation)
    for text in (
        "| top-1 | 83.33 % |",
        "| training time | 2 min 11 s |",
        "| optim | adamw, lr 0.001, betas \\[0.9, 0.999\\] |",
        "| augment | crop, padding 1; flip |",
        "vit train resolved.yaml",
        "vit train pets --out 'a <b>'",
        "| torch | 2.10 |",
        "`metrics.csv`",
        "`<script>alert(1)</script>`",
    ):
        assert text in card
    outside, inside = card.split("From inside this folder:")
    assert "vit train pets" in outside
    assert "vit train pets" not in inside, "its recipe and its --out are counted from elsewhere"
    assert "train.log" not in card
    assert "\n\n\n" not in card


def test_each_target_is_scored_in_its_own_unit(folder: RunFolder) -> None:
    rows = (
        {"target": "euros", "mae": 100.0, "rmse": 120.5, "r2": 0.5},
        {"target": "a|b", "mae": 0.1, "rmse": 0.25, "r2": 1.0},
    )
    card = write_card(read_record(folder), Evaluation({"r2": 0.75, "loss": 0.1, "images": 2}, None, None, 1.0, rows))
    assert "| euros | R² 0.5000, RMSE 120.5, MAE 100 |" in card
    assert "| a\\|b | R² 1.0000, RMSE 0.25, MAE 0.1 |" in card


def test_without_an_evaluation_the_best_row_speaks(folder: RunFolder) -> None:
    assert "| top-1 | 60.00 % |" in write_card(read_record(folder), None)


def test_a_run_that_crashed_says_so(folder: RunFolder) -> None:
    folder.write_json("status.json", {"status": "failed", "reason": "no <memory>", "step": 37, "total_steps": 60})
    assert "This run failed at step 37 of 60: no &lt;memory>." in write_card(read_record(folder), None)


def test_an_empty_folder_has_a_card(tmp_path: Path) -> None:
    card = write_card(read_record(RunFolder(tmp_path)), None)
    assert header(card)["tags"]
    assert "model-index" not in card
    assert "## Results" not in card
