"""Builders of the Kubernetes objects around a pod, as plain dicts.

Values come from the validated config, so they are not checked again. This module does not know what runs in
the pod.
"""

from collections.abc import Iterable, Mapping, Sequence

from framework.manifests.identity import Identity, Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


def service_account(
    identity: Identity, image_pull_secret: str | None, annotations: Mapping[str, str] | None = None
) -> Object:
    """Return a ServiceAccount without rights in the cluster, whose token is not mounted."""
    body: Object = {"automountServiceAccountToken": False}
    if image_pull_secret is not None:
        body["imagePullSecrets"] = [{"name": image_pull_secret}]
    return identity.object("v1", "ServiceAccount", annotations=annotations, **body)


def config_map(identity: Identity, data: Mapping[str, str]) -> Object:
    """Return a ConfigMap of files by name."""
    return identity.object("v1", "ConfigMap", data=dict(data))


def service(workload: Workload, name: str | None = None) -> Object:
    """Return a ClusterIP Service for the pods' port ``http`` and their further ports."""
    named = {"http": workload.service_port, **workload.ports}
    ports = [
        {"name": port, "port": number, "protocol": "TCP", "targetPort": port}
        for port, number in named.items()
    ]
    spec = {"type": "ClusterIP", "ports": ports, "selector": dict(workload.identity.selector)}
    return workload.identity.object("v1", "Service", name=name, spec=spec)


def deployment(workload: Workload) -> Object:
    """Return a Deployment of *workload* with rolling updates and no downtime.

    It has no ``replicas``: an autoscaler owns them, and every sync would reset its number.
    """
    spec = {
        "progressDeadlineSeconds": workload.progress_seconds,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(workload.identity.selector)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": workload.template(),
    }
    return workload.identity.object("apps/v1", "Deployment", spec=spec)


def disruption_budget(identity: Identity) -> Object:
    """Return a disruption budget of one pod at a time.

    It sets ``maxUnavailable`` instead of ``minAvailable``, so that a single replica does not block a node's
    drain. Neither does a pod that is not ready.
    """
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": dict(identity.selector)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return identity.object("policy/v1", "PodDisruptionBudget", spec=spec)


def network_policy(workload: Workload, callers: Iterable[Peer], egress: Sequence[Object]) -> Object:
    """Return a NetworkPolicy that denies all traffic except the following.

    Args:
        workload: the pods.
        callers: peers that can connect to the pods' ports; empty denies all.
        egress: rules for connections that the pods open.
    """
    peers = [_peer(caller) for caller in callers]
    ports = [{"port": name, "protocol": "TCP"} for name in ("http", *workload.ports)]
    spec = {
        "egress": [*egress],
        "ingress": [{"from": peers, "ports": ports}] if peers else [],
        "podSelector": {"matchLabels": dict(workload.identity.selector)},
        "policyTypes": ["Ingress", "Egress"],
    }
    return workload.identity.object("networking.k8s.io/v1", "NetworkPolicy", spec=spec)


def _peer(caller: Peer) -> Object:
    peer: Object = {}
    if caller.namespaces:
        peer["namespaceSelector"] = {"matchLabels": dict(caller.namespaces)}
    if caller.pods:
        peer["podSelector"] = {"matchLabels": dict(caller.pods)}
    return peer
