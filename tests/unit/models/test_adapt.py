"""Fitting weights to another resolution and other classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.ndimage import zoom

from vit_cli.errors import CheckpointError
from vit_cli.models.adapt import load_weights, renew_tables, replace_head, stretch_tables
from vit_cli.models.deit import Deit
from vit_cli.models.hybrid import Hybrid
from vit_cli.models.positions import FixedPositions, Stretch, resize_positions
from vit_cli.models.vit import Vit
from vit_cli.recipe.plain import at_res
from vit_cli.section import Grid


def section(**changes: Any) -> Vit:
    return Vit(**{"width": 8, "depth": 1, "heads": 2, "patch": 4, "res": 16} | changes)


GOOGLE = Stretch(mode="bilinear", align_corners=True)


def test_only_the_table_is_stretched_and_the_change_is_told() -> None:
    weights = section().build(3).state_dict()
    source, target = section().position_grids(), section(res=(24, 32)).position_grids()
    stretched = stretch_tables(weights, source, target, GOOGLE)
    assert stretched.changes == ["positions  4x4 -> 6x8 (bilinear + align corners)"]
    table = stretched.weights["positions.table"]
    expected = zoom(weights["positions.table"].reshape(4, 4, 8).numpy(), (1.5, 2, 1), order=1).reshape(1, 48, 8)
    torch.testing.assert_close(table, torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    assert stretched.weights.keys() == weights.keys()
    assert all(stretched.weights[name] is weights[name] for name in weights if name != "positions.table")
    load_weights(section(res=(24, 32)).build(3), stretched.weights)


@pytest.mark.parametrize("other", [section(), section(positions="sincos2d"), section(positions="none", res=32)])
def test_equal_grids_and_positions_without_a_table_are_left_alone(other: Vit) -> None:
    weights = other.build(3).state_dict()
    stretched = stretch_tables(weights, other.position_grids(), other.position_grids(), Stretch())
    assert stretched.changes == []
    assert stretched.weights == weights


@pytest.mark.parametrize("positions", ["sincos2d", "rope", "none"])
def test_weights_without_a_table_fit_any_resolution(positions: str) -> None:
    weights = section(positions=positions).build(3).state_dict()
    larger = section(positions=positions, res=32).build(3)
    load_weights(larger, weights)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in larger.state_dict().items())


KINDS = [
    {"positions_at": "shared"},
    {"positions_at": "layers"},
    {"positions": "learned2d"},
    {"positions": "learned2d", "positions_at": "layers"},
    {"positions": "relative"},
    {"positions": "relative", "positions_at": "shared"},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_tables_of_every_kind_are_stretched_each_as_an_image(kind: dict[str, Any]) -> None:
    small, large = section(depth=2, **kind), section(depth=2, res=(24, 32), **kind)
    weights = small.build(3).state_dict()
    stretched = stretch_tables(weights, small.position_grids(), large.position_grids(), GOOGLE).weights
    load_weights(large.build(3), stretched)
    assert large.position_grids()
    for name, target in large.position_grids().items():
        rows, columns = small.position_grids()[name]
        image = weights[name].reshape(rows, columns, -1).numpy()
        expected = zoom(image, (target.rows / rows, target.columns / columns, 1), order=1)
        torch.testing.assert_close(
            stretched[name], torch.from_numpy(expected).reshape(stretched[name].shape), rtol=1e-5, atol=1e-5
        )


def test_a_change_that_many_tables_share_is_told_once() -> None:
    small, large = section(depth=3, positions_at="layers"), section(depth=3, positions_at="layers", res=32)
    weights = small.build(3).state_dict()
    changes = stretch_tables(weights, small.position_grids(), large.position_grids(), Stretch()).changes
    assert changes == ["positions  4x4 -> 8x8 (bicubic)"]


def test_two_stretched_tables_are_the_stretched_sum_of_rows_and_columns() -> None:
    """Learned 2-D positions are linear in rows and columns, and so is stretching: both orders give the same vectors."""
    small, large = section(positions="learned2d"), section(positions="learned2d", res=(24, 32))
    model = small.build(3)
    weights = model.state_dict()
    stretched = stretch_tables(weights, small.position_grids(), large.position_grids(), Stretch(antialias=True)).weights
    larger = large.build(3)
    load_weights(larger, stretched)
    expected = resize_positions(model.positions.vectors(), Grid(4, 4), Grid(6, 8), Stretch(antialias=True))
    torch.testing.assert_close(larger.positions.vectors(), expected, rtol=1e-5, atol=1e-6)


def test_a_table_that_does_not_hold_its_models_grid_is_a_checkpoint_error() -> None:
    weights = section().build(3).state_dict()
    with pytest.raises(CheckpointError, match=r"positions\.table: a table of 16 positions does not hold a 5x5 grid"):
        stretch_tables(weights, {"positions.table": Grid(5, 5)}, {"positions.table": Grid(6, 6)}, Stretch())


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_whole_old_head_goes_and_a_zero_one_comes(head: str) -> None:
    torch.manual_seed(0)
    weights = section(head=head).build(10).state_dict()
    model = section().build(4)
    replaced = replace_head(weights, model)
    assert {name for name in replaced if name.startswith("head.")} == {"head.weight", "head.bias"}
    assert replaced["head.weight"].shape == (4, 8)
    assert not replaced["head.weight"].any()
    assert all(replaced[name] is weights[name] for name in weights if not name.startswith("head."))
    load_weights(model, replaced)
    assert torch.equal(model.state_dict()["norm.weight"], weights["norm.weight"])


def test_loading_copies_every_tensor() -> None:
    weights = {name: torch.randn_like(value) for name, value in section().build(3).state_dict().items()}
    model = section().build(3)
    load_weights(model, weights)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_what_does_not_fit_is_named_with_both_shapes_and_nothing_is_loaded() -> None:
    model = section().build(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = section(pool="gap").build(5).state_dict() | {"extra": torch.zeros(())}
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, weights)
    assert caught.value.problem.splitlines()[1:] == [
        "  cls: missing",
        "  extra: unexpected",
        "  head.bias: 5 in the file, 3 in the model",
        "  head.weight: 5x8 in the file, 3x8 in the model",
        "  positions.prefix: missing",
    ]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_long_list_of_what_does_not_fit_is_cut() -> None:
    with pytest.raises(CheckpointError, match="and 13 more"):
        load_weights(section().build(3), {})


FREE: list[Vit | Deit | Hybrid] = [
    section(),
    section(cls_position=False, registers=2, pool="map", cls_token=True, qk_norm=True),
    *(section(depth=2, **kind) for kind in KINDS[:4]),
    section(positions="sincos2d"),
    section(positions="sincos2d", positions_at="shared", pool="gap"),
    section(positions="rope", depth=2, registers=1),
    section(positions="none", pool="cls_gap"),
    Deit(width=8, depth=1, heads=2, patch=4, res=16),
    Hybrid(width=8, depth=1, heads=2, patch=2, backbone="stem", res=32),
]


@pytest.mark.parametrize("res", [(8, 8), (8, 16)], ids=str)
@pytest.mark.parametrize("whole", FREE, ids=lambda whole: f"{whole.name} {whole.positions} {whole.positions_at}")
def test_a_model_that_allows_another_size_answers_as_if_it_were_fitted_to_it(
    whole: Vit | Deit | Hybrid, res: tuple[int, int]
) -> None:
    """Sines and cosines are stretched too, as a table that is learned would be: the model stays that of its own grid."""
    torch.manual_seed(0)
    model = whole.build(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    small = at_res(whole, res)
    fitted = small.build(5)
    stretched = stretch_tables(model.state_dict(), whole.position_grids(), small.position_grids(), Stretch())
    load_weights(fitted, stretched.weights)
    if isinstance(model.positions, FixedPositions):
        fitted.positions.table = resize_positions(model.positions.table, whole.grid, small.grid, Stretch())
    images = torch.randn(3, 3, *res)
    with pytest.raises(ValueError, match=f"images of {Grid(*res)} for a model of"):
        model(images)
    model.allow(Grid(*res))
    torch.testing.assert_close(model(images), fitted(images), rtol=1e-6, atol=1e-6)


def test_weights_learn_through_positions_that_are_stretched_on_the_way() -> None:
    model = section(positions_at="layers", depth=2).build(3)
    torch.nn.init.normal_(model.head.weight)
    model.allow(Grid(8, 12))
    model(torch.randn(2, 3, 8, 12)).square().sum().backward()
    assert all(table.table.grad.abs().sum() > 0 for table in model.positions.tables)


def test_tables_that_are_drawn_anew_are_the_new_models_own_and_all_else_stays() -> None:
    old, new = section(res=8).build(3), section(res=16).build(3)
    weights, changes = renew_tables(old.state_dict(), section(res=16).position_grids(), new)
    assert changes == ["positions  drawn anew (4x4)"]
    assert weights["positions.table"].equal(new.state_dict()["positions.table"])
    kept = old.state_dict().keys() - {"positions.table"}
    assert all(weights[name].equal(old.state_dict()[name]) for name in kept)
    load_weights(new, weights)
