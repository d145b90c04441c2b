"""Stages and steps: what is to be done, and the name of its result before it exists.

A ``Stage`` is a component whose fields are the slice of the config that its bytes depend on, and
what is marked ``UNKEYED`` because no byte does. A ``Step`` binds it to the steps that feed it. Neither
knows where artifacts live.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from framework.core.component import Component
from framework.core.estimate import DataSize, Estimate, Workload


@dataclass(frozen=True)
class Workspace:
    """Where a running stage may write besides its output.

    ``scratch`` is named by the step's key and survives a kill, so that a long stage can resume
    from it; it is removed once the step is complete.
    """

    scratch: Path

    @property
    def cache(self) -> Path:
        """The store's folder for what saves time and changes no byte; it may not be there yet."""
        return self.scratch.parent.parent / "cache"


class Stage(Component, ABC):
    """A pure kind of work: reads its inputs' folders, writes only under its output folder."""

    name: ClassVar[str]
    """The kind of work; also the folder in the store."""

    version: ClassVar[int]
    """Bumped when the code changes the bytes that the stage writes for the same inputs."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions whose version changes the bytes; they enter the key."""

    weight_copies: ClassVar[float] = 1.0
    """How often it reads or writes the model's float32 weights, for ``estimate``."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Do the work.

        Args:
            inputs: the finished folder of every input, by slot name; read only.
            output: an empty folder that becomes the artifact once this returns.
            workspace: where unfinished work may be kept.

        Raises:
            FrameworkError: the work cannot be done, with a sentence for the user.
        """

    def estimate(self, workload: Workload) -> Estimate:
        """Predict time and memory; by default those of copying the weights ``weight_copies`` times.

        It is for deciding whether to start, not for billing. An override says where its formula comes from.
        """
        return workload.copying(self.weight_copies)

    def data_size(self, inputs: Mapping[str, DataSize], folder: Path | None) -> DataSize | None:
        """Return the size of the rows that it writes; None where it writes none.

        Args:
            inputs: the size of every input that holds rows, by slot.
            folder: what it wrote, whose true numbers are then returned; None before it has run.
        """
        return None


def installed(distribution: str) -> bool:
    """Tell whether the distribution is installed here."""
    try:
        return bool(_version(distribution))
    except metadata.PackageNotFoundError:
        return False


@cache
def _version(distribution: str) -> str:
    # What follows a plus says for which device a wheel was built (2.13.0+cpu): that is a key of its own.
    return metadata.version(distribution).partition("+")[0]


@dataclass(frozen=True)
class Step:
    """One stage bound to the steps that feed it."""

    label: str
    """What the plan's table calls it, such as ``evaluate tuned``."""
    stage: Stage
    needs: Mapping[str, "Step"] = field(default_factory=dict)
    """The steps whose artifacts it reads, by slot; their keys enter its own."""
    after: tuple["Step", ...] = ()
    """Steps that must have succeeded before it starts, but that its bytes do not depend on."""

    @cached_property
    def key(self) -> str:
        """The sha256 of all that decides the bytes: 64 hex digits."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return what the key is the hash of, readable, for ``artifact.json`` and for "why not"."""
        optional = [name for component in self.stage.walk() for name in component.requires()]
        return {
            "stage": self.stage.name,
            "version": self.stage.version,
            "spec": self.stage.spec(),
            "content": [c.fingerprint() for c in self.stage.walk() if isinstance(c, Fingerprinted)],
            "libraries": {name: _version(name) for name in (*self.stage.libraries, *optional)},
            "inputs": {slot: step.key for slot, step in sorted(self.needs.items())},
        }

    def walk(self) -> Iterator["Step"]:
        """Yield every step that this one needs, then itself; each once, inputs first."""
        seen: set[str] = set()

        def visit(step: Step) -> Iterator[Step]:
            if step.key in seen:
                return
            seen.add(step.key)
            for need in (*step.needs.values(), *step.after):
                yield from visit(need)
            yield step

        yield from visit(self)


class Fingerprinted(Component, ABC):
    """A component that stands for bytes outside the config, such as a local file."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what identifies those bytes now; it enters the key of every step that reads them."""
