"""The base class of the autoscaling options."""

from abc import ABC, abstractmethod

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Autoscaling(Component, ABC):
    """Sets the number of pods, within the environment's bounds.

    Each option renders an autoscaler, and no manifest has ``replicas``. Argo CD would own that field by its
    server-side apply, and removing it later resets the number to 1.
    """

    @abstractmethod
    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return the autoscaler.

        Args:
            workload: the pods.
            target: reference to the object that is scaled.
            environment: the smallest and largest number of replicas.
            monitoring: the source of metrics.
        """

    @property
    def cpu_target_percent(self) -> int | None:
        """CPU use that it targets, in percent of the requests; None where it scales on anything else too."""
        return None

    @abstractmethod
    def follows(self, gpus: int) -> str:
        """Return what the number of pods with *gpus* GPUs follows, in words."""

    def least(self, environment: Environment) -> int:
        """Return the smallest number of pods."""
        return environment.min_replicas

    def problems(self, monitoring: Monitoring, environment: Environment, gpus: int) -> list[Problem]:
        """Return what keeps this option from working.

        Args:
            monitoring: the source of metrics.
            environment: the smallest and largest number of replicas.
            gpus: GPUs of each pod.
        """
        return []
