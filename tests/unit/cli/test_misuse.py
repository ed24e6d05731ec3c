"""Wrong command lines, as typer's parser finds them and users read them."""

from __future__ import annotations

import sys

import pytest

from vit_cli.cli.main import run_app


@pytest.mark.parametrize(
    ("line", "problem", "hint"),
    [
        ("train digits --epochs 3", "there is no option --epochs", "write train.epochs=3"),
        ("train digits --lr=3e-4", "there is no option --lr", "write optim.lr=3e-4"),
        ("train digits --batch-size", "there is no option --batch-size", "train.batch_size=... or eval.batch_size=..."),
        ("train digits --optim.lr -q", "there is no option --optim.lr", "write optim.lr=..."),
        ("train digits --seed 3", "there is no option --seed", "write seed=3"),
        ("finetune --epochs 3", "there is no option --epochs", "write train.epochs=3"),
        ("train digits --width 64", "there is no option --width", "write model.width=64"),
        ("train digits --betas [0.9,0.95]", "there is no option --betas", "write 'optim.betas=[0.9,0.95]'"),
        ("train --compile off digits", "there is no option --compile", "write train.compile=..."),
        ("train --compile optim.lr=1 digits", "there is no option --compile", "write train.compile=..."),
        ("train digits --model vit", "there is no option --model", "write model.name=vit"),
        ("train digits --optim=muon", "there is no option --optim", "write optim.name=muon"),
        ("train digits --data photos", "there is no option --data", "Example: vit train digits"),
        ("finetune --drop-path 0.1", "there is no option --drop-path", "write model.drop_path=0.1"),
        ("finetune --weights a.pt", "there is no option --weights", "Example: vit finetune"),
        ("resume --workers 4", "there is no option --workers", "write data.workers=4"),
        ("resume --epochs 50", "there is no option --epochs", "Example: vit resume"),
        ("export runs/latest --precision fp16", "there is no option --precision", "Example: vit export"),
        ("train --out runs/a --compile digits", "there is no option --compile", "write train.compile=..."),
        ("recipe show --lr digits", "there is no option --lr", "write optim.lr=..."),
        ("resume --teacher runs/x", "there is no option --teacher", "write distill.teacher=..."),
        ("bench --name foo", "there is no option --name", "Example: vit bench"),
        ("train digits --overwritten", "there is no option --overwritten", "Did you mean --overwrite?"),
        ("train digits --nonsense", "there is no option --nonsense", "Example: vit train digits optim.lr=2e-3"),
        ("eval runs/latest --nonsense", "there is no option --nonsense", "Example: vit eval runs/latest --per-class"),
        ("train", "missing argument 'recipe'", "Example: vit train digits"),
        ("train digits --devices", "option '--devices' requires an argument", ""),
        ("trian digits", "no such command 'trian'", "Did you mean 'train'?"),
        ("checkpoint nonsense", "no such command 'nonsense'", "vit checkpoint -h shows what there is."),
        ("eval a my. b", "got unexpected extra argument(s) (my. b)", "Example: vit eval"),
        ("eval a b c", "got unexpected extra argument(s) (b c)", "Example: vit eval"),
    ],
)
def test_a_wrong_line_gets_one_message_and_exit_code_2(
    line: str, problem: str, hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = leave(line, capsys, monkeypatch)
    first, *rest = err.splitlines()
    assert (code, out, first) == (2, "", f"Error: {problem}")
    assert hint in "".join(rest)
    assert len(rest) <= 1


def test_help_is_no_error_but_no_verb_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = leave("run -h", capsys, monkeypatch)
    assert (code, err) == (0, "")
    assert "compare" in out
    for uses_rich in (True, False):
        monkeypatch.setattr("typer.core.HAS_RICH", uses_rich)
        code, out, err = leave("run", capsys, monkeypatch)
        assert code == 2
        assert "compare" in out + err
        assert "Error" not in out + err


def leave(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run a command line in this process; give its exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["vit", *line.split()])
    with pytest.raises(SystemExit) as left:
        run_app()
    return (int(left.value.code or 0), *capsys.readouterr())
