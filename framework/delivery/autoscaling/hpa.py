"""Kubernetes' HorizontalPodAutoscaler.

CPU use needs only the metrics server. Other targets need prometheus-adapter with a rule for each custom
metric; docs/rollouts.md shows the rules.
"""

from framework.delivery.autoscaling.elastic import Elastic
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload

WAITING = "gitune_waiting"
REQUESTS = "gitune_requests_per_second"
P99 = "gitune_p99_seconds"
"""Names of the pods' custom metrics, the same for every server."""


class Hpa(Elastic):
    """A HorizontalPodAutoscaler on CPU use, and on custom metrics where a target is set."""

    @property
    def cpu_target_percent(self) -> int | None:
        """CPU use that it targets, in percent of the requests; None with custom metrics."""
        custom = (self.waiting_per_pod, self.requests_per_pod, self.p99_seconds)
        return None if any(custom) else self.target_cpu_percent

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return one HorizontalPodAutoscaler."""
        cpu = {"type": "Utilization", "averageUtilization": self.target_cpu_percent}
        targets = {WAITING: self.waiting_per_pod, REQUESTS: self.requests_per_pod, P99: self.p99_seconds}
        custom = [_pods_metric(name, value) for name, value in targets.items() if value is not None]
        spec = {
            "behavior": self.behavior,
            "maxReplicas": environment.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": cpu}}, *custom],
            "minReplicas": self.least(environment),
            "scaleTargetRef": target,
        }
        return [workload.identity.object("autoscaling/v2", "HorizontalPodAutoscaler", spec=spec)]


def _pods_metric(name: str, value: float) -> Object:
    target = {"type": "AverageValue", "averageValue": _quantity(value)}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


def _quantity(value: float) -> str:
    """Return *value* as a quantity without an exponent.

    >>> _quantity(4.0), _quantity(0.25)
    ('4', '250m')
    """
    return f"{value:g}" if value == int(value) and value < 1e5 else f"{round(value * 1000)}m"
