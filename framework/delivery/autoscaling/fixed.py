"""A fixed number of pods, written to the manifest."""

from typing import Annotated

from pydantic import Field

from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Fixed(Autoscaling):
    """A fixed number of pods; changing it takes a commit."""

    count: Annotated[int, Field(ge=1)] | None = None
    """Number of pods; None uses the environment's ``min_replicas``."""

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return nothing: the workload holds the number."""
        return []

    def replicas(self, environment: Environment) -> int:
        """Return the number of pods."""
        return self.count or environment.min_replicas
