"""Kubernetes' own autoscaler."""

from typing import Annotated

from pydantic import Field

from framework.autoscaling import Autoscaling
from framework.environment import Environment
from framework.manifests.identity import Object
from framework.manifests.workload import Workload
from framework.monitoring import Monitoring


class Hpa(Autoscaling):
    """Grows at once and shrinks slowly, since a new pod must load its model."""

    target_cpu_percent: Annotated[int, Field(ge=1, le=100)] = 70
    """Mean CPU use that it aims at, in percent of the requests."""
    scale_down_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """How long fewer pods must have been enough before one is taken away."""

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return one HorizontalPodAutoscaler."""
        aim = {"type": "Utilization", "averageUtilization": self.target_cpu_percent}
        shrink = {"type": "Percent", "value": 50, "periodSeconds": 60}
        spec = {
            "behavior": {
                "scaleDown": {"policies": [shrink], "stabilizationWindowSeconds": self.scale_down_seconds},
                "scaleUp": {"stabilizationWindowSeconds": 0},
            },
            "maxReplicas": environment.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": aim}}],
            "minReplicas": environment.min_replicas,
            "scaleTargetRef": target,
        }
        return [workload.identity.object("autoscaling/v2", "HorizontalPodAutoscaler", spec=spec)]
