"""Stages and steps: the units of work, and the key that names a result before it exists.

The fields of a ``Stage`` are the part of the config that its bytes depend on; other fields are marked
``UNKEYED``. A ``Step`` binds a stage to the steps that feed it. Neither knows where artifacts are stored.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from framework.core.component import Component
from framework.core.gates import Bound
from framework.core.workload import DataSize, Estimate, Workload


@dataclass(frozen=True)
class Workspace:
    """Folders besides its output in which a running stage can write.

    ``scratch`` is named by the step's key and survives a kill, so a long stage can resume from it. It is
    removed once the step is complete.
    """

    scratch: Path

    @property
    def cache(self) -> Path:
        """The store's folder for caches that do not affect any bytes; it may not exist yet."""
        return self.scratch.parent.parent / "cache"


class Stage(Component, ABC):
    """A kind of work. It reads its inputs' folders and writes only below its output folder."""

    name: ClassVar[str]
    """The stage's name; also its folder in the store."""

    version: ClassVar[int]
    """Increased when a code change alters the bytes that the stage writes for the same inputs."""

    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions whose version affects the bytes; they enter the key."""

    def measures(self) -> Mapping[str, str]:
        """Return the candidates that the stage measures: each one's label and the slot of its input."""
        return {}

    def gates(self, measured: Collection[str]) -> Mapping[str, Bound]:
        """Return the bounds at which the stage stops the plan, by flat metric name.

        *measured* are the flat names of the metrics that its inputs hold.
        """
        return {}

    weight_copies: ClassVar[float] = 1.0
    """How often it reads or writes the model's float32 weights, for ``estimate``."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Do the work.

        Args:
            inputs: the finished folder of every input, by slot name; read-only.
            output: an empty folder that becomes the artifact when this returns.
            workspace: folders for unfinished work.

        Raises:
            FrameworkError: the work cannot be done, with a message for the user.
        """

    def accept(self, folder: Path) -> None:
        """Raise a ``FrameworkError`` if the artifact in *folder* does not suit the ``UNKEYED`` fields.

        An artifact of the store may have been built with others.
        """
        return

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
    """Return whether the distribution is installed."""
    return _version(distribution) is not None


@cache
def _version(distribution: str) -> str | None:
    try:
        # The part after a plus is the device that a wheel was built for (2.13.0+cpu), which has its own key.
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Step:
    """One stage bound to the steps that feed it."""

    label: str
    """Its name in the plan's table, such as ``evaluate tuned``."""
    stage: Stage
    needs: Mapping[str, "Step"] = field(default_factory=dict)
    """The steps whose artifacts it reads, by slot; their keys enter its key."""
    after: tuple["Step", ...] = ()
    """Steps that must succeed before it starts, but that do not affect its bytes."""

    @cached_property
    def key(self) -> str:
        """The sha256 of everything that determines the bytes: 64 hex digits."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return the data that the key hashes, for ``artifact.json`` and for explaining a rebuild.

        The version of a library that is not installed is None. A plan may show such a step; no artifact has
        its key.
        """
        keyed = list(self.stage.walk(keyed_only=True))
        optional = [name for component in keyed for name in component.requires()]
        return {
            "stage": self.stage.name,
            "version": self.stage.version,
            "spec": self.stage.spec(),
            "content": [c.fingerprint() for c in keyed if isinstance(c, Fingerprinted)],
            "libraries": {name: _version(name) for name in (*self.stage.libraries, *optional)},
            "inputs": {slot: step.key for slot, step in sorted(self.needs.items())},
        }

    def walk(self) -> Iterator["Step"]:
        """Yield every step that this one needs, then this one: each once, inputs first."""
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
    """A component that refers to bytes outside the config, such as a local file."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what identifies the current bytes; it enters the key of every step that reads them."""
