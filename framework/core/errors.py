"""Every error a user can cause, as one tree.

    FrameworkError            exit code 1
    ├── ConfigError           the recipe, an option or an override is wrong; exit code 2
    ├── PlanError             the config is valid but the plan cannot run; exit code 2
    ├── SourceError           bytes could not be fetched, or are not the bytes that were asked for
    ├── DataError             rows could not be read, or too many of them had to be rejected
    ├── StoreError            an artifact is missing, was altered, or cannot be written
    ├── StepError             a step failed while it ran
    ├── GateError             a metric is outside its bound
    ├── ClusterError          the Kubernetes API server refuses or does not answer
    ├── GitError              Git refuses, or the way into a cluster is not open
    ├── ReleaseError          a release lock is missing, altered or incomplete
    └── ServeError            a model folder cannot be opened or the server cannot run

A message says where, what, and how to mend it, in one sentence or one line a problem. Anything
that is not a ``FrameworkError`` is a fault in the framework and keeps its traceback.
"""

from typing import ClassVar


class FrameworkError(Exception):
    """Base of every error that is shown to the user without a traceback."""

    exit_code: int = 1
    """What the process ends with."""
    ends_sweep: ClassVar[bool] = False
    """Whether the jobs of a multirun that come after this one are given up too."""


class ConfigError(FrameworkError):
    """The recipe, an option or an override is wrong."""

    exit_code = 2


class PlanError(FrameworkError):
    """The config is valid, but this combination cannot run or does not fit."""

    exit_code = 2


class SourceError(FrameworkError):
    """Bytes could not be fetched, or their sha256 is not the one that was asked for."""


class DataError(FrameworkError):
    """Rows could not be read, or too many of them had to be rejected."""


class StoreError(FrameworkError):
    """An artifact is missing, was altered, or cannot be written."""


class StepError(FrameworkError):
    """A step failed while it ran."""


class GateError(FrameworkError):
    """A metric is outside its bound, so the plan stops here."""


class ClusterError(FrameworkError):
    """The Kubernetes API server refuses, or does not answer."""


class GitError(FrameworkError):
    """Git refuses, or what should go through it is not in a state to do so."""


class ReleaseError(FrameworkError):
    """A release lock is missing, altered or incomplete."""


class ServeError(FrameworkError):
    """A model folder cannot be opened, or the server cannot start or go on."""
