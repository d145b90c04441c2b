"""A number of pods that stands in the manifest."""

from typing import Annotated

from pydantic import Field

from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Fixed(Autoscaling):
    """Always as many pods; another number is a commit."""

    count: Annotated[int, Field(ge=1)] | None = None
    """How many; None takes the environment's ``min_replicas``."""

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return nothing: the number stands in the workload."""
        return []

    def replicas(self, environment: Environment) -> int:
        """Return the number."""
        return self.count or environment.min_replicas
