"""The message that shows all problems at once."""

from __future__ import annotations

from vit_cli.recipe.problems import Problem, refuse


def test_problems_stand_in_columns_in_the_order_of_their_lines() -> None:
    error = refuse(
        "my.yaml",
        [
            ("command line", Problem(("seed",), "third")),
            (12, Problem(("model", "res"), "second")),
            (7, Problem(("augment", 0, "probability"), "first")),
        ],
    )
    assert error.exit_code == 2
    assert error.problem.splitlines() == [
        "my.yaml has 3 problems",
        "  my.yaml:7     augment.0.probability  first",
        "  my.yaml:12    model.res              second",
        "  command line  seed                   third",
    ]


def test_one_problem_of_the_whole_file_has_no_column_of_keys() -> None:
    assert refuse("my.yaml", [(3, Problem((), "a tab"))]).problem == "my.yaml has 1 problem\n  my.yaml:3  a tab"
