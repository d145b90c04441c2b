"""The base class of the autoscaling options that follow the load: targets, pace and spare pods.

The options decide where the metrics come from.
"""

from typing import Annotated

from pydantic import Field

from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.manifests.identity import Object
from framework.manifests.workload import Workload

WAITING_PER_POD = 4
"""Requests per pod above which a queue grows, a guess that fits most servers."""


class Elastic(Autoscaling):
    """Scales up at once and down slowly, since a new pod must load its model."""

    target_cpu_percent: Annotated[int, Field(ge=1, le=100)] = 70
    """Target mean CPU use, in percent of the requests. Pods with GPUs are not scaled on it, since it says
    nothing of their load."""
    waiting_per_pod: Annotated[float, Field(gt=0)] | None = None
    """Target number of waiting and running requests per pod; on vLLM, whose batches have any size, of waiting
    ones. None does not scale on it."""
    requests_per_pod: Annotated[float, Field(gt=0)] | None = None
    """Target requests per second per pod; None does not scale on it."""
    p99_seconds: Annotated[float, Field(gt=0)] | None = None
    """Target 99th percentile of the latency, in seconds; above it, pods are added in proportion. None does
    not scale on it."""
    spare_replicas: Annotated[int, Field(ge=0)] = 0
    """Warm pods above the environment's minimum, with the model loaded, for sudden load."""
    scale_down_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """How long fewer pods must be enough before pods are removed."""

    def follows(self, gpus: int) -> str:
        """Return what the number of pods with *gpus* GPUs follows, in words."""
        targets = {
            "CPU use": None if gpus else self.target_cpu_percent,
            "waiting requests": self.waiting_per_pod,
            "requests per second": self.requests_per_pod,
            "p99 latency": self.p99_seconds,
        }
        return ", ".join(name for name, target in targets.items() if target is not None)

    def least(self, environment: Environment) -> int:
        """Return the smallest number of pods, including spare ones."""
        return min(environment.max_replicas, environment.min_replicas + self.spare_replicas)

    def cpu_percent(self, workload: Workload) -> int | None:
        """Return the target CPU use of *workload*'s pods; None with GPUs."""
        return None if workload.has_gpus else self.target_cpu_percent

    @property
    def behavior(self) -> Object:
        """The ``behavior`` of ``autoscaling/v2``."""
        shrink = {"type": "Percent", "value": 50, "periodSeconds": 60}
        return {
            "scaleDown": {"policies": [shrink], "stabilizationWindowSeconds": self.scale_down_seconds},
            "scaleUp": {"stabilizationWindowSeconds": 0},
        }
