"""The rendered kinds, and which of their fields a controller owns although Git sets them.

One table for Argo CD, which must not revert such a field, and for ``run status``, which must not report it
as drift. ``replicas`` is not listed, because Git does not set it where an autoscaler owns it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.delivery.traffic.gateway import ROUTE


@dataclass(frozen=True)
class Kind:
    """A kind of object that a release's folder may contain."""

    group: str
    """The API group; empty for core kinds."""
    plural: str
    """The resource name in the API server's paths."""
    owned: Sequence[str] = ()
    """Fields that a controller owns, as jq paths."""
    routes: str = ""
    """The list of routes to which a rollout adds its own, for mirrored or header-based traffic; a jq path."""

    @property
    def ignored(self) -> list[str]:
        """What Argo CD excludes from its comparison, as jq paths."""
        others = [f'{self.routes}[]? | select(.name != "{ROUTE}")'] if self.routes else []
        return [*self.owned, *others]


KINDS: Mapping[str, Kind] = {
    "ConfigMap": Kind("", "configmaps"),
    "Service": Kind("", "services", ('.spec.selector["rollouts-pod-template-hash"]',)),
    "ServiceAccount": Kind("", "serviceaccounts"),
    "Deployment": Kind("apps", "deployments"),
    "HorizontalPodAutoscaler": Kind("autoscaling", "horizontalpodautoscalers"),
    "NetworkPolicy": Kind("networking.k8s.io", "networkpolicies"),
    "PodDisruptionBudget": Kind("policy", "poddisruptionbudgets"),
    "AnalysisTemplate": Kind("argoproj.io", "analysistemplates"),
    "Rollout": Kind("argoproj.io", "rollouts"),
    "SealedSecret": Kind("bitnami.com", "sealedsecrets"),
    "ExternalSecret": Kind("external-secrets.io", "externalsecrets"),
    "HTTPRoute": Kind(
        "gateway.networking.k8s.io",
        "httproutes",
        (".spec.rules[]?.backendRefs[]?.weight",),
        ".spec.rules",
    ),
    "ScaledObject": Kind("keda.sh", "scaledobjects"),
    "AlertmanagerConfig": Kind("monitoring.coreos.com", "alertmanagerconfigs"),
    "PrometheusRule": Kind("monitoring.coreos.com", "prometheusrules"),
    "ServiceMonitor": Kind("monitoring.coreos.com", "servicemonitors"),
    "DestinationRule": Kind(
        "networking.istio.io",
        "destinationrules",
        ('.spec.subsets[]?.labels["rollouts-pod-template-hash"]',),
    ),
    "VirtualService": Kind(
        "networking.istio.io",
        "virtualservices",
        (".spec.http[]?.route[]?.weight",),
        ".spec.http",
    ),
    "InferenceService": Kind("serving.kserve.io", "inferenceservices"),
}
"""Every kind that an Argo CD project allows; nothing else reaches a cluster."""


def without_rollout_routes(kind: str, path: str, items: Sequence[Any]) -> list[Any]:
    """Return the *items* of a live list without the routes that a rollout added."""
    if kind not in KINDS or not path or KINDS[kind].routes != f".{path}":
        return list(items)
    return [item for item in items if item.get("name") == ROUTE]


def is_owned(kind: str, path: str) -> bool:
    """Return whether a controller owns the field at *path*, such as ``spec.http[0].route[1].weight``.

    >>> is_owned("VirtualService", "spec.http[primary].route[0].weight")
    True
    >>> is_owned("VirtualService", "spec.hosts[0]")
    False
    """
    return any(_pattern(jq).fullmatch(path) for jq in (KINDS[kind].owned if kind in KINDS else ()))


def _pattern(jq: str) -> re.Pattern[str]:
    tokens = re.split(r'(\[\]\?|\["[^"]+"\])', jq.removeprefix("."))
    pattern = ""
    for token in tokens:
        if token == "[]?":
            pattern += r"\[[^\]]*\]"
        elif token.startswith("["):
            pattern += rf"\.{re.escape(token[2:-2])}"
        else:
            pattern += re.escape(token)
    return re.compile(rf"{pattern}(?:[.\[].*)?")
