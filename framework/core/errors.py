"""Every error a user can cause, as one tree.

    FrameworkError            exit code 1
    ├── ConfigError           the recipe, an option or an override is wrong; exit code 2
    ├── PlanError             the config is valid but the plan cannot run; exit code 2
    ├── SourceError           bytes could not be fetched, or their sha256 is wrong
    ├── DataError             rows could not be read, or too many were rejected
    ├── StoreError            an artifact is missing, was altered, or cannot be written
    ├── StepError             a step failed while it ran
    ├── GateError             a metric is outside its bound, or a condition of a promotion is not met
    ├── ClusterError          the Kubernetes API server refuses or does not answer
    ├── GitError              Git refuses, or the repository is not ready for the change
    ├── ReleaseError          a release lock is missing, altered or incomplete
    └── ServeError            a model folder cannot be opened or the server cannot run

A message names the place, the problem and the fix, in one sentence or one line per problem. Anything
that is not a ``FrameworkError`` is a defect of the framework and keeps its traceback.
"""

from collections.abc import Iterable
from typing import ClassVar

from framework.core.problem import Problem


class FrameworkError(Exception):
    """Base of every error that is shown to the user without a traceback."""

    exit_code: int = 1
    """The process's exit code."""
    ends_sweep: ClassVar[bool] = False
    """Whether the remaining jobs of a multirun are canceled too."""
    problems: tuple[Problem, ...] = ()
    """What is wrong, as records, where the error has them."""


class ConfigError(FrameworkError):
    """The recipe, an option or an override is wrong.

    Args:
        message: the whole message, or its heading where *problems* follow.
        problems: what is wrong, one line each.
        lines: *problems* in words, where more is known of each, such as its file and line.
    """

    exit_code = 2

    def __init__(
        self, message: str = "", problems: Iterable[Problem] = (), lines: Iterable[str] | None = None
    ) -> None:
        self.problems = tuple(problems)
        self.lines = tuple(map(str, self.problems) if lines is None else lines)
        super().__init__(_message(message, self.lines))


class PlanError(FrameworkError):
    """The config is valid, but this combination cannot run or does not fit.

    Args:
        message: the whole message, or its heading where *problems* follow.
        problems: what is wrong, one line each.
    """

    exit_code = 2

    def __init__(self, message: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(_message(message, map(str, self.problems)))


class SourceError(FrameworkError):
    """Bytes could not be fetched, or their sha256 is wrong."""


class DataError(FrameworkError):
    """Rows could not be read, or too many were rejected."""


class StoreError(FrameworkError):
    """An artifact is missing, was altered, or cannot be written."""


class StepError(FrameworkError):
    """A step failed while it ran."""


class GateError(FrameworkError):
    """A metric is outside its bound, or a condition of a promotion is not met, so the release stops here."""


class ClusterError(FrameworkError):
    """The Kubernetes API server refuses a request, or does not answer."""


class GitError(FrameworkError):
    """Git refuses, or the repository is not in a state that allows the change."""


class ReleaseError(FrameworkError):
    """A release lock is missing, altered or incomplete, or the target cannot serve the release.

    Args:
        message: the whole message, or its heading where *problems* follow.
        problems: what is wrong, one line each.
    """

    def __init__(self, message: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(_message(message, map(str, self.problems)))


class ServeError(FrameworkError):
    """A model folder cannot be opened, or the server cannot start or continue."""


def invalid_config(problems: Iterable[Problem], lines: Iterable[str] | None = None) -> ConfigError:
    """Return the one error of all *problems* of a config; see ``ConfigError``."""
    return ConfigError("Config is invalid:", problems, lines)


def _message(heading: str, lines: Iterable[str]) -> str:
    return "\n  ".join([heading, *lines]) if heading else "\n".join(lines)
