"""What can go wrong, in the user's words: each kind of error has its exit code (docs: README, "Exit codes")."""


class VitError(Exception):
    """A failure that a user can cause or mend: what is wrong (`problem`) and what to do about it (`hint`)."""

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}\n  {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint


class UsageError(VitError):
    """A wrong argument, flag or output folder."""

    exit_code = 2


class RecipeError(VitError):
    """A recipe that can't be read or does not hold together."""

    exit_code = 2


class DataError(VitError):
    """Images, folders or labels that can't be used."""

    exit_code = 3


class CheckpointError(VitError):
    """A checkpoint or weights file that is missing, damaged, unsafe or of another model."""

    exit_code = 4


class TrainingError(VitError):
    """Training that can't go on: a loss that is not finite, no memory, no space, a process that died."""

    exit_code = 5


class GateError(VitError):
    """A result below what `--fail-under` or `--strict` asked for."""

    exit_code = 6


class Stopped(VitError):
    """Training stopped by a signal, after saving: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, problem: str, hint: str = "", exit_code: int = 130) -> None:
        super().__init__(problem, hint)
        self.exit_code = exit_code
