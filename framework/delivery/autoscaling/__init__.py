"""The base of every autoscaling option: how many pods serve."""

from abc import ABC, abstractmethod

from framework.core.component import Component
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

    @property
    def cpu_target_percent(self) -> int | None:
        """CPU use that it targets, in percent of the requests; None where it scales on anything else too."""
        return None

    def least(self, environment: Environment) -> int:
        """Return the smallest number of pods."""
        return environment.min_replicas

    def replicas(self, environment: Environment) -> int | None:
        """Return the number that stands in the manifest, or None where the autoscaler owns it."""
        return None

    def problems(self, monitoring: Monitoring) -> list[str]:
        """Return what keeps this option from working, each with the override that mends it."""
        return []
