"""The base of every deployment target: which files serve a release."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from framework.autoscaling import Autoscaling
from framework.core.component import Component
from framework.core.release import Release
from framework.environment import Environment
from framework.manifests.identity import Object
from framework.monitoring import Monitoring
from framework.rollout import Rollout
from framework.secrets import Secrets
from framework.serving import Serving
from framework.traffic import Traffic


@dataclass(frozen=True)
class Delivery:
    """Where a release goes and how: all that rendering depends on besides the target and the release."""

    serving: Serving
    environment: Environment
    rollout: Rollout
    autoscaling: Autoscaling
    traffic: Traffic
    monitoring: Monitoring
    secrets: Secrets


class Deployment(Component, ABC):
    """Where and how a release runs. Rendering is a pure function: same input, same bytes."""

    synced: ClassVar[bool] = True
    """Whether the files are Kubernetes objects, which Argo CD brings into a cluster."""

    gpus: Annotated[int, Field(ge=0)] = 0
    """NVIDIA GPUs of each replica."""

    @abstractmethod
    def files(self, release: Release, delivery: Delivery) -> Mapping[str, Object | str]:
        """Return what serves *release*: by file name an object, or a text that is written as it is."""

    @abstractmethod
    def problems(self, delivery: Delivery) -> list[str]:
        """Return what keeps this target from that delivery, empty where nothing does.

        Each is one sentence that names the override which mends it. The plan shows them before any
        work is done, and rendering refuses.
        """
