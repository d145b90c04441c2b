"""The base of the autoscaling options that follow the load: how fast, and with how many to spare.

What the load is measured by, each option says.
"""

from typing import Annotated

from pydantic import Field

from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.manifests.identity import Object


class Elastic(Autoscaling):
    """Grows at once and shrinks slowly, since a new pod must load its model."""

    target_cpu_percent: Annotated[int, Field(ge=1, le=100)] = 70
    """Mean CPU use that it aims at, in percent of the requests."""
    waiting_per_pod: Annotated[float, Field(gt=0)] | None = None
    """Requests that wait or are being answered, a pod; None does not scale by them."""
    requests_per_pod: Annotated[float, Field(gt=0)] | None = None
    """Requests a second, a pod; None does not scale by them."""
    p99_seconds: Annotated[float, Field(gt=0)] | None = None
    """99th percentile of the answering time: above it pods are added in proportion. None does not scale by
    it."""
    spare_replicas: Annotated[int, Field(ge=0)] = 0
    """Pods above the environment's least, warm with the model loaded, for a load that jumps."""
    scale_down_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """How long fewer pods must have been enough before one is taken away."""

    def least(self, environment: Environment) -> int:
        """Return the least number of pods, spare ones included."""
        return min(environment.max_replicas, environment.min_replicas + self.spare_replicas)

    @property
    def behavior(self) -> Object:
        """The pace, in the words of ``autoscaling/v2``."""
        shrink = {"type": "Percent", "value": 50, "periodSeconds": 60}
        return {
            "scaleDown": {"policies": [shrink], "stabilizationWindowSeconds": self.scale_down_seconds},
            "scaleUp": {"stabilizationWindowSeconds": 0},
        }
