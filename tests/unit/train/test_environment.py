"""What is remembered of the machine and the command, without what is secret."""

from __future__ import annotations

import json
import sys

import pytest

from vit_cli.train.environment import command_line, describe_environment


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["train", "digits", "optim.lr=1e-3"], "vit train digits optim.lr=1e-3"),
        (["train", "a b.yaml"], "vit train 'a b.yaml'"),
        (["train", "track.api_key=abc"], "vit train 'track.api_key=***'"),
        (["train", "HF_TOKEN=hf_abc def"], "vit train 'HF_TOKEN=***'"),
        (["train", "--token", "abc", "x"], "vit train --token '***' x"),
        (["train", "--wandb-api-key=abc"], "vit train '--wandb-api-key=***'"),
        (["train", "track={name: w, token: abc, y: 2}"], "vit train 'track={name: w, token: ***, y: 2}'"),
        (["train", "t={\"password\": \"a b\", y: 2}"], "vit train 't={\"password\": ***, y: 2}'"),
        (["eval", "https://me:pass@host/x"], "vit eval 'https://***@host/x'"),
        (["eval", "tokens/x", "keyboard=1", "secret", "y"], "vit eval tokens/x keyboard=1 secret y"),
        ([], "vit"),
    ],
)  # fmt: skip
def test_the_command_is_kept_with_stars_for_what_is_secret(
    monkeypatch: pytest.MonkeyPatch, words: list[str], shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/vit", *words])
    assert command_line() == shown


def test_nothing_of_the_environment_variables_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "0123456789abcdef")
    assert "0123456789abcdef" not in json.dumps(describe_environment())


def test_packages_that_only_some_runs_need_are_told_of_those_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    assert not {"datasets", "timm", "transformers"} & describe_environment()["packages"].keys()
    monkeypatch.setitem(sys.modules, "datasets", sys)
    assert "datasets" in describe_environment()["packages"]
