"""The base of every rollout: how a new release takes the place of the one that serves."""

from abc import ABC, abstractmethod
from typing import ClassVar

from framework.core.component import Component
from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


class Rollout(Component, ABC):
    """Replaces the pods of a release, and says how long a way back takes."""

    progressive: ClassVar[bool] = True
    """Whether the new release and the previous one serve side by side before the switch is final."""
    carries_files: ClassVar[bool] = False
    """Whether its pods hold the server's files themselves, so that they need no ConfigMap."""

    @property
    def callers(self) -> tuple[Peer, ...]:
        """Who asks the pods while a release is replaced, and so must be let in by the network policy."""
        return ()

    @property
    def abort_seconds(self) -> int | None:
        """Longest time that a release which fails from its first request on gets any; None: no judge."""
        return None

    @abstractmethod
    def objects(
        self, workload: Workload, replicas: int | None, traffic: Traffic, monitoring: Monitoring
    ) -> list[Object]:
        """Return what runs *workload*, its Services and what judges them.

        Args:
            workload: the pods.
            replicas: how many; None where an autoscaler owns them.
            traffic: what brings requests to the Services.
            monitoring: where the measurements are that a new release is judged by.
        """

    @abstractmethod
    def scaled(self, identity: Identity) -> Object:
        """Return the reference to what an autoscaler scales."""

    @abstractmethod
    def services(self, identity: Identity) -> tuple[str, ...]:
        """Return the names of the Services that requests may be sent to, the serving release's first."""

    @abstractmethod
    def rollback_seconds(self, start_seconds: int) -> int:
        """Return the longest time from a changed manifest in the cluster until the old release answers.

        Args:
            start_seconds: longest time from a pod's creation until it is ready.
        """

    def problems(
        self,
        traffic: Traffic,
        autoscaling: Autoscaling,
        monitoring: Monitoring,
        environment: Environment,
        start_seconds: int,
    ) -> list[str]:
        """Return what keeps this rollout from working with the rest, each with the override that mends it."""
        return []
