"""KEDA: an autoscaler that queries Prometheus directly, without an adapter."""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.delivery.autoscaling.elastic import WAITING_PER_POD, Elastic
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Keda(Elastic):
    """A ScaledObject on the queue and on CPU use, and on request rate and p99 where a target is set.

    Pods with GPUs are not scaled on CPU use, and vLLM's on the use of its KV cache too: a queue that is empty
    because there are enough pods would remove them.

    While Prometheus does not answer, the current number of pods is kept, and at least the minimum. With a
    percentile as the only query, the number does not change.
    """

    waiting_per_pod: Annotated[float, Field(gt=0)] | None = WAITING_PER_POD
    """Target number of waiting and running requests per pod; on vLLM, whose batches have any size, of waiting
    ones: the first sign of load."""
    cache_per_pod: Annotated[float, Field(gt=0, le=1)] | None = 0.7
    """Target share of a pod's KV cache that is in use, on servers that measure it (vLLM); None does not scale
    on it."""
    polling_seconds: Annotated[int, Field(ge=5, le=600)] = 15
    """Seconds between two queries to Prometheus."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 4
    """Failed queries after which the fallback applies."""

    def follows(self, gpus: int) -> str:
        """Return what the number of pods with *gpus* GPUs follows, in words."""
        words = super().follows(gpus)
        return f"{words}, KV cache use (vLLM)" if gpus and self.cache_per_pod is not None else words

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
        if (percent := self.cpu_percent(workload)) is not None:
            cpu = {"metadata": {"value": str(percent)}, "metricType": "Utilization"}
            triggers.insert(0, {"type": "cpu", "name": "cpu", **cpu})
        spec = {
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": self.behavior}},
            "cooldownPeriod": self.scale_down_seconds,
            "maxReplicaCount": environment.max_replicas,
            "minReplicaCount": least,
            "pollingInterval": self.polling_seconds,
            "scaleTargetRef": target,
            "triggers": triggers,
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
        cache = signals.answer_use(pods)
        queries = (
            ("waiting", signals.load(pods), self.waiting_per_pod, "AverageValue"),
            ("cache", cache or "", self.cache_per_pod if cache else None, "AverageValue"),
            ("requests", signals.request_rate(pods), self.requests_per_pod, "AverageValue"),
            # Without requests it is NaN, which the comparison drops.
            ("p99", f"({signals.latency(pods)}) > 0", self.p99_seconds, "Value"),
        )
        return [(name, query, value, kind) for name, query, value, kind in queries if value is not None]

    def problems(self, monitoring: Monitoring, environment: Environment, gpus: int) -> list[Problem]:
        """Return that nothing answers KEDA's queries, or that pods with GPUs have none."""
        if monitoring.query_url is None:
            reason = "KEDA queries Prometheus, and no metrics are collected"
            other = "autoscaling=fixed" if gpus else "autoscaling=hpa"
            return [Problem("autoscaling", reason, ("monitoring=prometheus", other))]
        if gpus and not any((self.waiting_per_pod, self.requests_per_pod, self.p99_seconds)):
            reason = "a server on GPUs is not scaled by CPU use, and no other target is set"
            override = f"autoscaling.waiting_per_pod={WAITING_PER_POD}"
            return [Problem("autoscaling.waiting_per_pod", reason, (override,))]
        return []


def _prometheus(name: str, query: str, threshold: float, kind: str, address: str) -> Object:
    metadata = {
        "ignoreNullValues": "true",  # an empty result means no requests, not a failure
        "query": query,
        "serverAddress": address,
        "threshold": f"{threshold:g}",
    }
    return {"type": "prometheus", "name": name, "metadata": metadata, "metricType": kind}
