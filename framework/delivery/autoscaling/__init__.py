"""The base of every autoscaling option: how many pods serve."""

from abc import ABC, abstractmethod

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Autoscaling(Component, ABC):
    """Keeps the number of pods between the environment's bounds."""

    @abstractmethod
    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return the autoscaler.

        Args:
            workload: the pods.
            target: the reference to what is scaled.
            environment: gives the least and the most replicas.
            monitoring: where the measurements are.
        """

    def replicas(self, environment: Environment) -> int | None:
        """Return the number that stands in the manifest, or None where the autoscaler owns it."""
        return None

    def problems(self, monitoring: Monitoring) -> list[Problem]:
        """Return what keeps this option from working with *monitoring*."""
        return []
