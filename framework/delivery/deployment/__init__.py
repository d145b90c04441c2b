"""The base class of the deployment targets: which files serve a release."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from framework.core.component import Component
from framework.core.errors import ReleaseError
from framework.core.problem import Problem
from framework.core.release import LOCK, Release
from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.delivery.rollout import Rollout
from framework.delivery.secrets import Secrets
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Object
from framework.manifests.values import image_pattern, is_pinned, unpinned
from framework.serving import Serving


@dataclass(frozen=True)
class Delivery:
    """All options that rendering depends on, except the target itself."""

    serving: Serving
    environment: Environment
    rollout: Rollout
    autoscaling: Autoscaling
    traffic: Traffic
    monitoring: Monitoring
    secrets: Secrets


class Deployment(Component, ABC):
    """Where a release runs. Rendering is a pure function: same input, same bytes."""

    synced: ClassVar[bool] = True
    """Whether the files are Kubernetes objects, which Argo CD applies to a cluster."""
    engines: ClassVar[tuple[str, ...]] = ()
    """Engines whose exports it serves (``Export.engine``); empty for all."""
    tasks: ClassVar[tuple[str, ...]] = ()
    """Tasks that it serves; empty for all that the server option serves."""
    takes_adapters: ClassVar[bool] = True
    """Whether it serves an adapter that is not merged into the weights."""
    libraries: ClassVar[Mapping[str, str]] = {}
    """The only library whose engines it opens (``Export.library``), by engine."""
    has_api_keys: ClassVar[bool] = True
    """Whether its server can ask for an API key."""
    keys_override: ClassVar[str] = ""
    """The override that gives its server a file of API keys; empty if it reads none."""
    batches: ClassVar[bool] = False
    """Whether it sends up to ``serving.max_batch_size`` rows to the engine in one call."""
    remedy: ClassVar[str] = ""
    """The overrides that build a folder it serves."""

    gpus: Annotated[int, Field(ge=0)] = 0
    """NVIDIA GPUs of each replica."""

    @abstractmethod
    def files(self, release: Release, delivery: Delivery) -> Mapping[str, Object | str]:
        """Return the objects, or texts written verbatim, that serve *release*, by file name."""

    def shared_files(self, release: Release, delivery: Delivery) -> Mapping[str, Object]:
        """Return the objects that *release* shares with others of its environment, by file name."""
        return {}

    @property
    def warmup_row(self) -> int | None:
        """Tokens of the row that it sends to the engine before any request; None where it sends none."""
        return None

    @abstractmethod
    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return what keeps this target from serving as *delivery* says.

        The plan shows them before any work is done, and rendering refuses.
        """

    def size_problems(self, size: float, delivery: Delivery) -> list[Problem]:
        """Return what this target lacks for a model with *size* bytes of weights: disk, memory, time.

        The plan asks with the least size that is possible, and rendering with the lock's.
        """
        return []

    def store_problems(self, url: str, delivery: Delivery) -> list[Problem]:
        """Return why this target could not fetch a model from the store at *url*."""
        return []

    def rollback_seconds(self, delivery: Delivery) -> int | None:
        """Return the longest time from a changed manifest until the previous release answers.

        None where no cluster applies the manifests.
        """
        return None

    @property
    @abstractmethod
    def images(self) -> Mapping[str, str]:
        """Images that run or are mounted, by field name."""

    def unpinned(self, environment: Environment) -> list[Problem]:
        """Return every image that *environment* requires to be pinned by digest, and is not."""
        if environment.allow_unpinned_image:
            return []
        return [
            unpinned(f"deployment.{field}", image, environment.name)
            for field, image in self.images.items()
            if not is_pinned(image)
        ]

    def foreign_images(self, environment: Environment) -> list[Problem]:
        """Return every image that *environment* does not accept."""
        if not environment.images:
            return []
        pattern = image_pattern(environment.images)
        reason = f"is none of environment.images, {', '.join(environment.images)}"
        return [
            Problem(f"deployment.{field}", f"'{image}' {reason}", advice="use one of these, or add it there")
            for field, image in self.images.items()
            if re.search(pattern, image) is None
        ]

    @property
    def has_keys(self) -> bool:
        """Whether the server gets a file of API keys."""
        return False

    def lost_keys(self, delivery: Delivery) -> list[Problem]:
        """Return a file of API keys that only this machine has, so that rendered servers would ask for none.

        It is no problem of the plan: ``run serve`` reads the file.
        """
        if getattr(delivery.serving, "keys", None) is None or self.has_keys:
            return []
        reason = "a rendered server does not have this machine's file"
        overrides = filter(None, (self.keys_override, "serving.keys=null"))
        return [Problem("serving.keys", reason, tuple(overrides))]

    def refuse(self, release: Release) -> None:
        """Raise unless this target serves *release*.

        Raises:
            ReleaseError: it was built for another engine or another task.
        """
        if self.engines and release.engine not in self.engines:
            reason = f"this target runs {' or '.join(self.engines)}, the release is for {release.engine}"
            advice = f"rebuild it with {self.remedy}"
            problem = Problem(f"{LOCK}: engine", reason, ("deployment=kubernetes",), advice)
            raise ReleaseError(problems=[problem])
        if self.tasks and release.task not in self.tasks:
            reason = f"this target serves {', '.join(self.tasks)}, the release is for {release.task}"
            raise ReleaseError(problems=[Problem(f"{LOCK}: task", reason, ("deployment=kubernetes",))])
