"""Kubernetes' HorizontalPodAutoscaler.

CPU use needs only the metrics server. Other targets need prometheus-adapter with a rule for each custom
metric; docs/rollouts.md shows the rules.
"""

from framework.core.problem import Problem
from framework.delivery.autoscaling.elastic import WAITING_PER_POD, Elastic
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload

WAITING = "gitune_waiting"
REQUESTS = "gitune_requests_per_second"
P99 = "gitune_p99_seconds"
"""Names of the pods' custom metrics, the same for every server."""


class Hpa(Elastic):
    """A HorizontalPodAutoscaler on CPU use, and on custom metrics where a target is set.

    Pods with GPUs need a custom metric.
    """

    @property
    def cpu_target_percent(self) -> int | None:
        """CPU use that it targets, in percent of the requests; None with custom metrics."""
        return None if any(self._targets.values()) else self.target_cpu_percent

    @property
    def _targets(self) -> dict[str, float | None]:
        """The target of each custom metric by its name."""
        return {WAITING: self.waiting_per_pod, REQUESTS: self.requests_per_pod, P99: self.p99_seconds}

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return one HorizontalPodAutoscaler."""
        metrics = [_pods_metric(name, value) for name, value in self._targets.items() if value is not None]
        if (percent := self.cpu_percent(workload)) is not None:
            cpu = {"type": "Utilization", "averageUtilization": percent}
            metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": cpu}})
        spec = {
            "behavior": self.behavior,
            "maxReplicas": environment.max_replicas,
            "metrics": metrics,
            "minReplicas": self.least(environment),
            "scaleTargetRef": target,
        }
        return [workload.identity.object("autoscaling/v2", "HorizontalPodAutoscaler", spec=spec)]

    def problems(self, monitoring: Monitoring, environment: Environment, gpus: int) -> list[Problem]:
        """Return pods with GPUs that would be scaled by their CPU use."""
        if not gpus or any(self._targets.values()):
            return []
        reason = "the CPU use of a server on GPUs says nothing of its load"
        queue = f"autoscaling.waiting_per_pod={WAITING_PER_POD}"
        overrides = ("autoscaling=keda monitoring=prometheus", queue, "autoscaling=fixed")
        return [Problem("autoscaling", reason, overrides)]


def _pods_metric(name: str, value: float) -> Object:
    target = {"type": "AverageValue", "averageValue": _quantity(value)}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


def _quantity(value: float) -> str:
    """Return *value* as a quantity without an exponent.

    >>> _quantity(4.0), _quantity(0.25)
    ('4', '250m')
    """
    return f"{value:g}" if value == int(value) and value < 1e5 else f"{round(value * 1000)}m"
