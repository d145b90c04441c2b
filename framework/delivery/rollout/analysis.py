"""What a new release is judged by while it arrives: the AnalysisTemplates of Argo Rollouts.

It asks for the new release's own measurements and the old one's at the same time, told apart by the hash
in their pods' names. A measurement needs enough requests: without them it is neither good nor bad
(``Inconclusive``), and too many of those pause the rollout, since nothing was proved. How long and how
often is asked, the rollout says.
"""

from dataclasses import dataclass

from framework.manifests.identity import Identity, Object
from framework.manifests.signals import Series
from framework.manifests.workload import Workload

NEW, OLD = "new", "old"
"""The arguments of a template: the pod-template-hash of either release."""


@dataclass(frozen=True)
class Margins:
    """How much worse than the old release a new one may be."""

    error: float
    """Failed requests: share of all, above the old release's share."""
    latency: float
    """99th percentile of the answering time: a multiple of the old release's."""
    bad: float
    """Plainly bad answers: share of all, above the old release's share."""


@dataclass(frozen=True)
class Pace:
    """When and how often is measured; all in seconds but the limits."""

    window: int
    """What a measurement of the new release looks back at; the first waits for a whole one."""
    baseline: int
    """What one of the old release looks back at."""
    interval: int
    failure_limit: int
    """Bad measurements that are borne; one more ends the rollout."""
    inconclusive_limit: int
    """Measurements without enough requests that are borne; one more pauses the rollout."""
    least_requests: int
    """Requests in a window that make a measurement."""
    least_failures: int
    """Failures in a window below which no share of them is too high."""
    count: int | None
    """Measurements in all; None measures as long as the rollout's steps take."""


def judgement(workload: Workload, address: str, margins: Margins, pace: Pace) -> Object:
    """Return the template that compares the new release with the old one.

    Args:
        workload: the pods, of either release.
        address: where PromQL is answered.
        margins: what is borne.
        pace: when and how often is measured.
    """
    signals, identity = workload.signals, workload.identity
    new, old = _pods(identity, NEW), _pods(identity, OLD)
    window, baseline = f"{pace.window}s", f"{pace.baseline}s"
    enough = f"({signals.request_rate(new, window)}) * {pace.window} >= {pace.least_requests}"

    def more(mine: str, theirs: str, counted: Series) -> str:
        """Return how far *mine* lies above *theirs*, as 0 where a few failures tell nothing."""
        several = (
            f"(({counted.rate(new, window)}) or vector(0)) * {pace.window} >= bool {pace.least_failures}"
        )
        return f"(({mine}) - (({theirs}) or vector(0))) * ({several}) and on() ({enough})"

    slower = (
        f"(({signals.latency(new, window=window)}) / ({signals.latency(old, window=baseline)})) "
        f"and on() ({enough})"
    )
    shares = (signals.error_share(new, window), signals.error_share(old, baseline))
    asked = [("error-share", more(*shares, signals.failures)), ("p99", slower)]
    bounds = {"error-share": margins.error, "p99": margins.latency, "bad-share": margins.bad}
    mine, theirs = signals.bad_share(new, window), signals.bad_share(old, baseline)
    if mine is not None and theirs is not None and signals.bad_outputs is not None:
        asked.append(("bad-share", more(mine, theirs, signals.bad_outputs)))
    metrics = [_metric(name, query, bounds[name], address, pace) for name, query in asked]
    if len(metrics) > 2:
        # A classifier gives no texts that could be bad; whether there were requests is asked above.
        metrics[2]["successCondition"] = f"len(result) == 0 || result[0] <= {margins.bad:g}"
    spec = {"args": [{"name": NEW}, {"name": OLD}], "metrics": metrics}
    return identity.object("argoproj.io/v1alpha1", "AnalysisTemplate", spec=spec)


def smoke(workload: Workload, service: str) -> Object:
    """Return the template that asks *service* whether its pods answer: five times, all must.

    The path is that of the pods' readiness, which is theirs only once the model has answered.
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
        "successCondition": "true",  # whatever is said with a status of 200 will do; all else is an error
    }
    spec = {"metrics": [metric]}
    return workload.identity.object("argoproj.io/v1alpha1", "AnalysisTemplate", name=service, spec=spec)


def use(template: str) -> Object:
    """Return the reference to a template of ``judgement``, with either release's hash."""
    hashes = ((NEW, "Latest"), (OLD, "Stable"))
    return {
        "args": [{"name": name, "valueFrom": {"podTemplateHashValue": which}} for name, which in hashes],
        "templates": [{"templateName": template}],
    }


def _pods(identity: Identity, argument: str) -> str:
    return f'namespace="{identity.namespace}",pod=~"{identity.name}-{{{{args.{argument}}}}}-.+"'


def _metric(name: str, query: str, bound: float, address: str, pace: Pace) -> Object:
    metric: Object = {
        # Neither holds for a NaN or where nothing came back: such a measurement is inconclusive.
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
