"""KEDA: an autoscaler that asks Prometheus itself, so that no adapter stands between."""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.delivery.autoscaling.elastic import Elastic
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Keda(Elastic):
    """A ScaledObject by the queue, and by CPU; requests a second and p99 where they are asked for.

    Where Prometheus does not answer, the least number of pods is kept, or what runs where that is more;
    scaled by a percentile alone, the number stays as it is.
    """

    waiting_per_pod: Annotated[float, Field(gt=0)] | None = 4
    """Requests that wait or are being answered, a pod: what a model that answers in batches feels first."""
    polling_seconds: Annotated[int, Field(ge=5, le=600)] = 15
    """Time from one question to Prometheus to the next."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 4
    """Questions without an answer after which the fallback holds."""

    def objects(
        self, workload: Workload, target: Object, environment: Environment, monitoring: Monitoring
    ) -> list[Object]:
        """Return one ScaledObject."""
        if monitoring.query_url is None:
            raise ValueError("a query needs an address; ask 'problems' first")
        least = self.least(environment)
        triggers = [
            _prometheus(name, query, threshold, kind, monitoring.query_url)
            for name, query, threshold, kind in self._questions(workload)
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
        # KEDA refuses a fallback where nothing is divided by the pods: for CPU or a percentile alone.
        if any(trigger["metricType"] == "AverageValue" for trigger in triggers):
            spec["fallback"] = {
                "behavior": "currentReplicasIfHigher",
                "failureThreshold": self.failure_threshold,
                "replicas": least,
            }
        return [workload.identity.object("keda.sh/v1alpha1", "ScaledObject", spec=spec)]

    def _questions(self, workload: Workload) -> list[tuple[str, str, float, str]]:
        """Return name, query, threshold and kind of what is asked for.

        A queue and a rate grow with the load and are divided by the pods; a percentile is compared as it is.
        """
        signals, identity = workload.signals, workload.identity
        # A pod's name ends in two parts without a dash, so another release's longer name does not match.
        pods = f'namespace="{identity.namespace}",pod=~"{identity.name}-[^-]+-[^-]+"'
        asked = (
            ("waiting", signals.in_flight(pods), self.waiting_per_pod, "AverageValue"),
            ("requests", signals.request_rate(pods), self.requests_per_pod, "AverageValue"),
            # Without requests it is NaN, which no comparison lets through.
            ("p99", f"({signals.latency(pods)}) > 0", self.p99_seconds, "Value"),
        )
        return [(name, query, value, kind) for name, query, value, kind in asked if value is not None]

    def problems(self, monitoring: Monitoring) -> list[Problem]:
        """Return that nothing answers KEDA's queries."""
        if monitoring.query_url is not None:
            return []
        reason = "KEDA queries Prometheus, and no metrics are collected"
        return [Problem("autoscaling", reason, ("monitoring=prometheus", "autoscaling=hpa"))]


def _prometheus(name: str, query: str, threshold: float, kind: str, address: str) -> Object:
    metadata = {
        "ignoreNullValues": "true",  # no request in the window is no failure of Prometheus
        "query": query,
        "serverAddress": address,
        "threshold": f"{threshold:g}",
    }
    return {"type": "prometheus", "name": name, "metadata": metadata, "metricType": kind}
