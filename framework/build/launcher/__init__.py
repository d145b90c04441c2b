"""The base of every launcher: submit the steps of a plan, then follow, wait for or cancel the run.

Knows steps and their store; knows neither the config nor rendering.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from framework.core.component import Component
from framework.core.errors import FrameworkError
from framework.core.git import checkout_commit
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
    """The steps to build, how they spread over machines, and the command that asked for them."""

    name: str
    """The release's name."""
    recipe: str
    """The recipe that it is built from."""
    command: str
    """The command as it was typed, ready to be pasted."""
    steps: tuple[Step, ...]
    """The whole plan, inputs first; the last step publishes."""
    plan: str
    """The release's plan key, which names its lock in the model store: 64 hex digits."""
    store: Store
    """The artifact store on this machine."""
    url: str
    """The model store."""
    plugins: tuple[str, ...]
    """Packages besides ``framework`` that options come from."""
    machines: int
    """Machines that training runs on."""
    processes: int
    """Training processes on each machine."""
    gpus: bool
    """Whether each process has a GPU."""
    saving_seconds: float
    """Seconds that training may take to finish its step and save after it is asked to stop."""

    @property
    def last(self) -> Step:
        """The step that publishes."""
        return self.steps[-1]

    @cached_property
    def commit(self) -> str | None:
        """The Git commit of the working folder, for the objects of a job; read only where a launcher asks."""
        return checkout_commit(Path())


@dataclass(frozen=True)
class Built:
    """The result of a run."""

    release: Release
    steps: int
    """Steps that were built or checked; 0 if the release already existed."""


class Run(ABC):
    """Submitted work. Methods may be called in any order; each of them can be called again."""

    @abstractmethod
    def follow(self) -> None:
        """Pass the log on until the work has ended, well or not.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived.
            FrameworkError: the work is out of reach.
        """

    @abstractmethod
    def wait(self) -> Built:
        """Wait for the end and return the release.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived.
            FrameworkError: the work failed, with the exit code of its worker.
        """

    @abstractmethod
    def cancel(self) -> None:
        """End the work; finished steps stay in the store. Does nothing if it has ended."""


@dataclass(frozen=True)
class Finished(Run):
    """Work that needs no process: the release already exists."""

    built: Built

    def follow(self) -> None:
        """Return at once."""

    def wait(self) -> Built:
        """Return the release at once."""
        return self.built

    def cancel(self) -> None:
        """Do nothing."""


class Launcher(Component, ABC):
    """Where steps are built."""

    elsewhere: ClassVar[bool] = False
    """Whether the worker runs on another machine, with packages of its own."""

    def problems(self, url: str, sources: Iterable[Source], pinned: bool) -> list[Problem]:
        """Return everything that keeps a recipe from being built there.

        Args:
            url: the model store.
            sources: everything that the recipe reads.
            pinned: whether images must be pinned by digest.
        """
        return []

    def preview(self, work: Work) -> str:
        """Describe what *work* would start besides a local worker; empty if nothing."""
        return ""

    @abstractmethod
    def find(self, work: Work) -> Release | None:
        """Return the release if it is already built.

        Raises:
            FrameworkError: the place where it would be cannot be read.
        """

    @abstractmethod
    def submit(self, work: Work) -> Run | None:
        """Start building what is missing and return at once; None if the job was only written.

        Raises:
            FrameworkError: it cannot be started.
        """
