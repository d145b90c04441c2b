"""The base class of the rollouts: how a new release replaces the one that serves."""

from abc import ABC, abstractmethod
from typing import ClassVar

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


class Rollout(Component, ABC):
    """Replaces the pods of a release."""

    progressive: ClassVar[bool] = True
    """Whether the new release and the previous one serve side by side before the switch is final."""
    carries_files: ClassVar[bool] = False
    """Whether its pods carry the server's files in annotations instead of a ConfigMap."""

    @property
    def callers(self) -> tuple[Peer, ...]:
        """Pods that send requests during a rollout; the network policy lets them in."""
        return ()

    @property
    def abort_seconds(self) -> int | None:
        """Longest time that a release whose requests all fail receives any; None without analysis."""
        return None

    @abstractmethod
    def objects(self, workload: Workload, traffic: Traffic, monitoring: Monitoring) -> list[Object]:
        """Return the objects that run *workload*, its Services and its analysis.

        Args:
            workload: the pods.
            traffic: the option that routes requests to the Services.
            monitoring: the source of the metrics that a new release is judged by.
        """

    @abstractmethod
    def scaled(self, identity: Identity) -> Object:
        """Return the reference to the object that an autoscaler scales."""

    @abstractmethod
    def services(self, identity: Identity) -> tuple[str, ...]:
        """Return the names of the Services that can receive requests, the stable one first."""

    @abstractmethod
    def rollback_seconds(self, start_seconds: int) -> int:
        """Return the longest time from a changed manifest in the cluster until the previous release answers.

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
    ) -> list[Problem]:
        """Return what keeps this rollout from working with the other options."""
        return []
