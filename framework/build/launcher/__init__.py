"""The base of every launcher: where the steps of a plan are built, and how one waits for them.

It knows steps and the store that they are built in, neither the config nor what rendering does with
the release.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from framework.core.component import Component
from framework.core.errors import FrameworkError
from framework.core.problem import Problem
from framework.core.release import Release
from framework.core.source import Source
from framework.core.step import Step
from framework.core.store import Store


class Interrupted(FrameworkError):
    """The user or the system asked the runner to stop."""

    ends_sweep: ClassVar[bool] = True

    def __init__(self, number: int, after: str) -> None:
        self.exit_code = 128 + number
        super().__init__(f"Stopped by {signal.Signals(number).name}; {after}")


@dataclass(frozen=True)
class Work:
    """What is to be built, how it spreads over machines, and how it was asked for."""

    name: str
    """The release's name."""
    recipe: str
    """The recipe it is built from."""
    command: str
    """The command as it was typed, ready to be pasted."""
    steps: tuple[Step, ...]
    """All of the plan, inputs first; the last one publishes."""
    plan: str
    """The release's plan key, by which the model store keeps its lock: 64 hex digits."""
    store: Store
    """The artifacts' store on this machine."""
    url: str
    """The model store."""
    plugins: tuple[str, ...]
    """Packages besides ``framework`` that options come from."""
    commit: str | None
    """The Git commit of the working folder."""
    machines: int
    """On how many machines it trains."""
    processes: int
    """How many processes train on each of them."""
    gpus: bool
    """Whether each process has a GPU."""
    saving_seconds: float
    """What training may take to finish its step and save, once it is told to stop."""

    @property
    def last(self) -> Step:
        """The step that publishes."""
        return self.steps[-1]


@dataclass(frozen=True)
class Built:
    """What came of the work."""

    release: Release
    steps: int
    """How many steps were built, or at least looked at, for it."""


class Launcher(Component, ABC):
    """Where steps are built."""

    here: ClassVar[bool] = True
    """Whether that is this machine, with its files and its store."""

    def problems(self, url: str, sources: Iterable[Source], pinned: bool) -> list[Problem]:
        """Return everything that keeps a recipe from being built there.

        Args:
            url: the model store.
            sources: everything that the recipe reads.
            pinned: whether images must be pinned by digest.
        """
        return []

    def preview(self, work: Work) -> str:
        """Return what building *work* would start besides the worker on this machine; empty is nothing."""
        return ""

    @abstractmethod
    def find(self, work: Work) -> Release | None:
        """Return the release if it is built already.

        Raises:
            FrameworkError: where it would be cannot be read.
        """

    @abstractmethod
    def build(self, work: Work) -> Built | None:
        """Build what is missing, and wait for it; None where somebody else is to start it.

        Raises:
            Interrupted: a signal came.
            FrameworkError: whatever keeps it from being built.
        """
