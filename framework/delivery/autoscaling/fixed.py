"""A fixed number of pods, held by an autoscaler with equal bounds."""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Fixed(Autoscaling):
    """A fixed number of pods; changing it takes a commit.

    A HorizontalPodAutoscaler with equal bounds sets the number, which needs no metrics. A change to another
    option keeps the pods: ``replicas`` in the manifest would be reset to 1.
    """

    count: Annotated[int, Field(ge=1)] | None = None
    """Number of pods; None uses the environment's ``min_replicas``."""

    def follows(self, gpus: int) -> str:
        """Return that the number of pods follows nothing."""
        return "a fixed number of pods"

    def least(self, environment: Environment) -> int:
        """Return the number of pods."""
        return self.count or environment.min_replicas

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return one HorizontalPodAutoscaler.

        It reports an error where no metrics server answers, although bounds need none, so Argo CD ignores its
        health.
        """
        # Without metrics, the API server would add its own.
        cpu = {"type": "Utilization", "averageUtilization": 100}
        spec = {
            "maxReplicas": self.least(environment),
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": cpu}}],
            "minReplicas": self.least(environment),
            "scaleTargetRef": target,
        }
        health = {"argocd.argoproj.io/ignore-healthcheck": "true"}
        kind = ("autoscaling/v2", "HorizontalPodAutoscaler")
        return [workload.identity.object(*kind, annotations=health, spec=spec)]

    def problems(self, monitoring: Monitoring, environment: Environment, gpus: int) -> list[Problem]:
        """Return a number outside the environment's bounds."""
        count, least, most = self.least(environment), environment.min_replicas, environment.max_replicas
        if least <= count <= most:
            return []
        reason = f"{count} pods are outside {environment.name}'s range of {least} to {most}"
        return [Problem("autoscaling.count", reason, (f"autoscaling.count={least}",))]
