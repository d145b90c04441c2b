"""The kinds that a release may contain, and which of their fields a controller owns.

One table for Argo CD, which must not revert such a field, and for ``run status``, which must not report it
as drift. ``replicas`` belongs to an autoscaler where Git does not set it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.delivery.rollout.ab import HEADER_ROUTE
from framework.delivery.rollout.shadow import MIRROR_ROUTE

GITOPS = ("argocd-controller", "argocd-application-controller")
"""Names under which Argo CD writes fields."""
_ROLLOUTS = ("rollouts-controller",)
_GATEWAY_PLUGIN = ("gatewayAPI",)
"""Argo Rollouts' plugin; an API server names a client after its executable."""
_SCALERS = ("kube-controller-manager", "keda")
_ADDED_ROUTES = (HEADER_ROUTE, MIRROR_ROUTE)
"""Names of the routes that Argo Rollouts adds; a route with any other name was inserted by somebody else."""


@dataclass(frozen=True)
class Kind:
    """A kind of object that a release's folder may contain. Fields are given as jq paths."""

    version: str
    """The API version, such as ``apps/v1``."""
    plural: str
    """The resource name in the API server's paths."""
    controllers: Sequence[str] = ()
    """Names under which controllers write the fields below."""
    owned: Sequence[str] = ()
    """Fields that a controller changes; Argo CD must not revert them."""
    added: Sequence[str] = ()
    """Fields that a controller adds; Argo CD never compares them."""
    routes: str = ""
    """The list of routes to which a rollout adds its own, for mirrored or header-based traffic."""
    unnamed: bool = False
    """Whether an added route may lack a name, as older versions of the Gateway API plugin write it."""

    @property
    def group(self) -> str:
        """The API group; empty for core kinds."""
        return self.version.rpartition("/")[0]

    @property
    def ignored(self) -> list[str]:
        """What Argo CD excludes from its comparison, as jq paths."""
        names = [f'.name == "{name}"' for name in _ADDED_ROUTES]
        condition = " or ".join([".name == null", *names] if self.unnamed else names)
        return [*self.owned, *([f"{self.routes}[]? | select({condition})"] if self.routes else [])]


KINDS: Mapping[str, Kind] = {
    "ConfigMap": Kind("v1", "configmaps"),
    "Service": Kind(
        "v1",
        "services",
        _ROLLOUTS,
        ('.spec.selector["rollouts-pod-template-hash"]',),
        ('.metadata.annotations["argo-rollouts.argoproj.io/managed-by-rollouts"]',),
    ),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    "Deployment": Kind(
        "apps/v1",
        "deployments",
        _SCALERS,
        added=(".spec.replicas", '.metadata.annotations["deployment.kubernetes.io/revision"]'),
    ),
    "HorizontalPodAutoscaler": Kind("autoscaling/v2", "horizontalpodautoscalers"),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "CiliumNetworkPolicy": Kind("cilium.io/v2", "ciliumnetworkpolicies"),
    "PodDisruptionBudget": Kind("policy/v1", "poddisruptionbudgets"),
    "AnalysisTemplate": Kind("argoproj.io/v1alpha1", "analysistemplates"),
    "Rollout": Kind(
        "argoproj.io/v1alpha1",
        "rollouts",
        (*_SCALERS, *_ROLLOUTS),
        added=(
            ".spec.replicas",
            '.metadata.annotations["rollout.argoproj.io/revision"]',
            '.metadata.annotations["rollout.argoproj.io/workload-generation"]',
        ),
    ),
    "SealedSecret": Kind("bitnami.com/v1alpha1", "sealedsecrets"),
    "ExternalSecret": Kind(
        "external-secrets.io/v1",
        "externalsecrets",
        ("external-secrets",),
        added=('.metadata.finalizers["externalsecrets.external-secrets.io/externalsecret-cleanup"]',),
    ),
    "HTTPRoute": Kind(
        "gateway.networking.k8s.io/v1",
        "httproutes",
        (*_ROLLOUTS, *_GATEWAY_PLUGIN),
        (".spec.rules[]?.backendRefs[]?.weight",),
        ('.metadata.labels["rollouts.argoproj.io/gatewayapi-canary"]',),
        ".spec.rules",
        unnamed=True,
    ),
    "BackendTrafficPolicy": Kind("gateway.envoyproxy.io/v1alpha1", "backendtrafficpolicies"),
    "ScaledObject": Kind(
        "keda.sh/v1alpha1",
        "scaledobjects",
        ("keda",),
        added=(
            '.metadata.finalizers["finalizer.keda.sh"]',
            '.metadata.labels["scaledobject.keda.sh/name"]',
        ),
    ),
    "AlertmanagerConfig": Kind("monitoring.coreos.com/v1alpha1", "alertmanagerconfigs"),
    "PrometheusRule": Kind("monitoring.coreos.com/v1", "prometheusrules"),
    "ServiceMonitor": Kind("monitoring.coreos.com/v1", "servicemonitors"),
    "DestinationRule": Kind(
        "networking.istio.io/v1",
        "destinationrules",
        _ROLLOUTS,
        ('.spec.subsets[]?.labels["rollouts-pod-template-hash"]',),
    ),
    "VirtualService": Kind(
        "networking.istio.io/v1",
        "virtualservices",
        _ROLLOUTS,
        (".spec.http[]?.route[]?.weight",),
        routes=".spec.http",
    ),
    "InferenceService": Kind(
        "serving.kserve.io/v1beta1",
        "inferenceservices",
        ("manager",),  # KServe's executable
        added=('.metadata.finalizers["inferenceservice.finalizers"]',),
    ),
}
"""Every kind that an Argo CD project allows; nothing else reaches a cluster from Git."""
WORKLOADS: Mapping[str, Kind] = {
    "CronJob": Kind("batch/v1", "cronjobs"),
    "DaemonSet": Kind("apps/v1", "daemonsets"),
    "Job": Kind("batch/v1", "jobs"),
    "Pod": Kind("v1", "pods"),
    "ReplicaSet": Kind("apps/v1", "replicasets"),
    "StatefulSet": Kind("apps/v1", "statefulsets"),
}
"""Other kinds whose pods can carry a release's labels, and so receive its requests."""
_TRACKING = re.compile(
    r"metadata\.annotations\.(?:argocd\.argoproj\.io/[\w-]+|kubectl\.kubernetes\.io/last-applied-configuration)"
)
"""What Argo CD adds to every object that it applies."""
_DEFAULTS: Mapping[str, Any] = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "scheme": "HTTP",
    "successThreshold": 1,
    "protocol": "TCP",
    "defaultMode": 420,
    "sessionAffinity": "None",
    "internalTrafficPolicy": "Cluster",
}
"""Defaults of the API server; managedFields may list them under the manager that created the object."""


def is_default(path: str, value: object) -> bool:
    """Return whether *value* at *path* means the same as leaving the field out."""
    if value is None or value in ("", [], {}):
        return True
    if not path.startswith("spec."):
        return False
    *_, parent, key = path.split(".")
    return _DEFAULTS.get(key) == value or (parent, key, value) == ("fieldRef", "apiVersion", "v1")


def is_added_route(kind: str, path: str, item: object, owners: Sequence[str]) -> bool:
    """Return whether *item* of the live list at *path* is a route that a rollout added.

    Args:
        kind: the object's kind.
        path: the list, such as ``spec.http``.
        item: what the list contains and Git does not.
        owners: who owns the list.
    """
    entry = KINDS.get(kind)
    if entry is None or not entry.routes or entry.routes != f".{path}" or not isinstance(item, Mapping):
        return False
    allowed = (*_ADDED_ROUTES, *((None,) if entry.unnamed else ()))
    return item.get("name") in allowed and not strangers(kind, f"{path}[]", owners)


def strangers(kind: str, path: str, owners: Sequence[str]) -> list[str]:
    """Return which of *owners* may not own the field at *path*, which Git may set or not.

    Args:
        kind: the object's kind.
        path: such as ``spec.http[release].route[1].weight``.
        owners: names of managers, as an API server records them.
    """
    entry = KINDS.get(kind)
    known = entry.controllers if entry is not None and is_controllers(kind, path) else ()
    return [owner for owner in owners if owner not in GITOPS and owner not in known]


def is_controllers(kind: str, path: str) -> bool:
    """Return whether the field at *path* is a controller's, such as ``spec.http[0].route[1].weight``.

    >>> is_controllers("VirtualService", "spec.http[release].route[0].weight")
    True
    >>> is_controllers("VirtualService", "spec.hosts[0]")
    False
    """
    entry = KINDS.get(kind)
    if entry is None:
        return False
    routes = [f"{entry.routes}[]?"] if entry.routes and path.endswith("[]") else []
    return selects((*entry.owned, *entry.added, *routes), path)


def selects(paths: Sequence[str], path: str) -> bool:
    """Return whether one of the jq *paths* selects the field at *path*, or one above it.

    >>> selects([".spec.containers[].resources"], "spec.containers[server].resources.limits")
    True
    """
    return any(_pattern(jq).fullmatch(path) for jq in paths)


def is_tracking(path: str) -> bool:
    """Return whether Argo CD adds the field at *path* to what Git contains."""
    return _TRACKING.fullmatch(path) is not None


def _pattern(jq: str) -> re.Pattern[str]:
    """Return the paths that *jq* selects, and those below; list items and keys are equal in notation."""
    pattern = ""
    for token in re.split(r'(\[\]\??|\["[^"]+"\])', jq.removeprefix(".")):
        if token in ("[]", "[]?"):
            pattern += r"\[[^\]]*\]"
        elif token.startswith("["):
            name = re.escape(token[2:-2])
            pattern += rf"(?:\.{name}|\[{name}\])"
        else:
            pattern += re.escape(token)
    return re.compile(rf"{pattern}(?:[.\[].*)?")
