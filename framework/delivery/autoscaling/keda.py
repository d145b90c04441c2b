"""KEDA: an autoscaler that queries Prometheus directly, without an adapter."""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.delivery.autoscaling.elastic import Elastic
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Keda(Elastic):
    """A ScaledObject on the queue and on CPU use, and on request rate and p99 where a target is set.

    While Prometheus does not answer, the current number of pods is kept, and at least the minimum. With a
    percentile as the only query, the number does not change.
    """

    waiting_per_pod: Annotated[float, Field(gt=0)] | None = 4
    """Target number of waiting and running requests per pod: the first sign of load on a batching server."""
    polling_seconds: Annotated[int, Field(ge=5, le=600)] = 15
    """Seconds between two queries to Prometheus."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 4
    """Failed queries after which the fallback applies."""

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return one ScaledObject."""
        if monitoring.query_url is None:
            raise ValueError("KEDA needs a query URL; 'problems' reports it")
        least = self.least(environment)
        triggers = [
            _prometheus(name, query, threshold, kind, monitoring.query_url)
            for name, query, threshold, kind in self._queries(workload)
        ]
        cpu = {"metadata": {"value": str(self.target_cpu_percent)}, "metricType": "Utilization"}
        spec = {
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": self.behavior}},
            "cooldownPeriod": self.scale_down_seconds,
            "maxReplicaCount": environment.max_replicas,
            "minReplicaCount": least,
            "pollingInterval": self.polling_seconds,
            "scaleTargetRef": target,
            "triggers": [{"type": "cpu", "name": "cpu", **cpu}, *triggers],
        }
        # KEDA rejects a fallback without an AverageValue trigger, as with CPU or a percentile only.
        if any(trigger["metricType"] == "AverageValue" for trigger in triggers):
            spec["fallback"] = {
                "behavior": "currentReplicasIfHigher",
                "failureThreshold": self.failure_threshold,
                "replicas": least,
            }
        return [workload.identity.object("keda.sh/v1alpha1", "ScaledObject", spec=spec)]

    def _queries(self, workload: Workload) -> list[tuple[str, str, float, str]]:
        """Return name, query, threshold and metric type of each trigger.

        Queue and rate grow with the load and are divided by the number of pods. A percentile is compared as
        is.
        """
        signals, identity = workload.signals, workload.identity
        # A pod's name ends in two suffixes without a dash, so a release with a longer name does not match.
        pods = f'namespace="{identity.namespace}",pod=~"{identity.name}-[^-]+-[^-]+"'
        queries = (
            ("waiting", signals.in_flight(pods), self.waiting_per_pod, "AverageValue"),
            ("requests", signals.request_rate(pods), self.requests_per_pod, "AverageValue"),
            # Without requests it is NaN, which the comparison drops.
            ("p99", f"({signals.latency(pods)}) > 0", self.p99_seconds, "Value"),
        )
        return [(name, query, value, kind) for name, query, value, kind in queries if value is not None]

    def problems(self, monitoring: Monitoring, environment: Environment) -> list[Problem]:
        """Return that nothing answers KEDA's queries."""
        if monitoring.query_url is not None:
            return []
        reason = "KEDA queries Prometheus, and no metrics are collected"
        return [Problem("autoscaling", reason, ("monitoring=prometheus", "autoscaling=hpa"))]


def _prometheus(name: str, query: str, threshold: float, kind: str, address: str) -> Object:
    metadata = {
        "ignoreNullValues": "true",  # an empty result means no requests, not a failure
        "query": query,
        "serverAddress": address,
        "threshold": f"{threshold:g}",
    }
    return {"type": "prometheus", "name": name, "metadata": metadata, "metricType": kind}
