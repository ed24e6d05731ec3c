"""`vit env`."""

import json

import pytest

from vit_cli.cli.env import env


def test_env_says_what_a_result_may_depend_on(capsys: pytest.CaptureFixture[str]) -> None:
    env(json=False)
    keys = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"vit", "python", "gpus", "git", "torch", "numpy"} <= set(keys)


def test_env_is_one_json_document_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    env(json=True)
    assert {"vit", "python", "gpus", "packages", "git"} <= set(json.loads(capsys.readouterr().out))
