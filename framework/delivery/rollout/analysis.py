"""AnalysisTemplates of Argo Rollouts: how a new release is judged during a rollout.

Each query compares the new release with the old one over the same time; the hash in their pods' names
distinguishes them. A measurement with too few requests is ``Inconclusive``, and too many of those pause the
rollout. The rollout sets timing and limits.
"""

from dataclasses import dataclass

from framework.manifests.identity import Identity, Object
from framework.manifests.server_signals import Series
from framework.manifests.workload import Workload

NEW, OLD = "new", "old"
"""Arguments of a template: the pod-template-hash of each release."""


@dataclass(frozen=True)
class Margins:
    """How much worse than the old release a new one can be."""

    error: float
    """Largest excess of the share of failed requests."""
    latency: float
    """Largest ratio of the 99th percentile of the latency."""
    bad: float
    """Largest excess of the share of bad answers."""


@dataclass(frozen=True)
class Pace:
    """Timing of the measurements, in seconds, and their limits."""

    window: int
    """Look-back window of the new release; the first measurement waits for a full one."""
    baseline: int
    """Look-back window of the old release."""
    interval: int
    failure_limit: int
    """Failed measurements that are tolerated; one more aborts the rollout."""
    inconclusive_limit: int
    """Measurements with too few requests that are tolerated; one more pauses the rollout."""
    least_requests: int
    """Requests in a window below which a measurement is inconclusive."""
    least_failures: int
    """Failures in a window below which their share is ignored."""
    count: int | None
    """Number of measurements; None measures during all steps of the rollout."""


def comparison(workload: Workload, address: str, margins: Margins, pace: Pace) -> Object:
    """Return the template that compares the new release with the old one.

    Args:
        workload: the pods.
        address: URL of the PromQL API.
        margins: differences that are tolerated.
        pace: timing and limits of the measurements.
    """
    signals, identity = workload.signals, workload.identity
    new, old = _pods(identity, NEW), _pods(identity, OLD)
    window, baseline = f"{pace.window}s", f"{pace.baseline}s"
    enough = f"({signals.request_rate(new, window)}) * {pace.window} >= {pace.least_requests}"

    def excess(new_share: str, old_share: str, failures: Series) -> str:
        """Return the excess of *new_share* over *old_share*, 0 with too few *failures* to judge."""
        several = (
            f"(({failures.rate(new, window)}) or vector(0)) * {pace.window} >= bool {pace.least_failures}"
        )
        return f"(({new_share}) - (({old_share}) or vector(0))) * ({several}) and on() ({enough})"

    slower = (
        f"(({signals.latency(new, window=window)}) / ({signals.latency(old, window=baseline)})) "
        f"and on() ({enough})"
    )
    shares = (signals.error_share(new, window), signals.error_share(old, baseline))
    queries = [("error-share", excess(*shares, signals.failures)), ("p99", slower)]
    bounds = {"error-share": margins.error, "p99": margins.latency, "bad-share": margins.bad}
    new_bad, old_bad = signals.bad_share(new, window), signals.bad_share(old, baseline)
    if new_bad is not None and old_bad is not None and signals.bad_outputs is not None:
        queries.append(("bad-share", excess(new_bad, old_bad, signals.bad_outputs)))
    metrics = [_metric(name, query, bounds[name], address, pace) for name, query in queries]
    if len(metrics) > 2:
        # A classifier has no bad answers, so no result passes; the error share checks for enough requests.
        metrics[2]["successCondition"] = f"len(result) == 0 || result[0] <= {margins.bad:g}"
    spec = {"args": [{"name": NEW}, {"name": OLD}], "metrics": metrics}
    return identity.object("argoproj.io/v1alpha1", "AnalysisTemplate", spec=spec)


def smoke(workload: Workload, service: str) -> Object:
    """Return the template that requests the readiness path of *service* five times; all must succeed.

    A pod is ready only after its model has answered.
    """
    path = workload.pod["containers"][0]["readinessProbe"]["httpGet"]["path"]
    host = f"{service}.{workload.identity.namespace}.svc"
    metric = {
        "consecutiveErrorLimit": 1,
        "count": 5,
        "failureLimit": 0,
        "interval": "5s",
        "name": "answers",
        "provider": {
            "web": {
                "jsonPath": "{$}",
                "method": "GET",
                "timeoutSeconds": 10,
                "url": f"http://{host}:{workload.service_port}{path}",
            }
        },
        "successCondition": "true",  # any answer with status 200 passes; others are errors
    }
    spec = {"metrics": [metric]}
    return workload.identity.object("argoproj.io/v1alpha1", "AnalysisTemplate", name=service, spec=spec)


def use(template: str) -> Object:
    """Return the reference to a template of ``comparison``, with the hashes of both releases."""
    hashes = ((NEW, "Latest"), (OLD, "Stable"))
    return {
        "args": [{"name": name, "valueFrom": {"podTemplateHashValue": which}} for name, which in hashes],
        "templates": [{"templateName": template}],
    }


def _pods(identity: Identity, argument: str) -> str:
    return f'namespace="{identity.namespace}",pod=~"{identity.name}-{{{{args.{argument}}}}}-.+"'


def _metric(name: str, query: str, bound: float, address: str, pace: Pace) -> Object:
    metric: Object = {
        # Neither holds for NaN or an empty result: the measurement is inconclusive.
        "failureCondition": f"len(result) > 0 && result[0] > {bound:g}",
        "successCondition": f"len(result) > 0 && result[0] <= {bound:g}",
        "failureLimit": pace.failure_limit,
        "inconclusiveLimit": pace.inconclusive_limit,
        "initialDelay": f"{pace.window}s",
        "interval": f"{pace.interval}s",
        "name": name,
        "provider": {"prometheus": {"address": address, "query": query, "timeout": 20}},
    }
    if pace.count is not None:
        metric["count"] = pace.count
    return metric
