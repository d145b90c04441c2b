"""Builders of the Kubernetes objects around a pod, as plain dicts.

They know what a platform asks of every workload; what runs inside the pod, they are told. Values come
from validated config, so nothing is checked again here.
"""

from collections.abc import Iterable, Mapping

from framework.manifests.identity import Identity, Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


def service_account(identity: Identity, image_pull_secret: str | None) -> Object:
    """Return an account that may do nothing and whose token no pod gets."""
    body: Object = {"automountServiceAccountToken": False}
    if image_pull_secret is not None:
        body["imagePullSecrets"] = [{"name": image_pull_secret}]
    return identity.object("v1", "ServiceAccount", **body)


def config_map(identity: Identity, data: Mapping[str, str]) -> Object:
    """Return a ConfigMap of files."""
    return identity.object("v1", "ConfigMap", data=dict(data))


def service(workload: Workload, name: str | None = None) -> Object:
    """Return a Service inside the cluster to the pods' port named ``http``, and to their further ones."""
    named = {"http": workload.service_port, **workload.ports}
    ports = [
        {"name": port, "port": number, "protocol": "TCP", "targetPort": port}
        for port, number in named.items()
    ]
    spec = {"type": "ClusterIP", "ports": ports, "selector": dict(workload.identity.selector)}
    return workload.identity.object("v1", "Service", name=name, spec=spec)


def deployment(workload: Workload, replicas: int | None = None) -> Object:
    """Return a Deployment of *workload* that rolls without a gap.

    Args:
        workload: the pods.
        replicas: how many; None where an autoscaler owns them, since a number here would fight it at
            every sync.
    """
    spec = {
        "progressDeadlineSeconds": workload.progress_seconds,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(workload.identity.selector)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": workload.template(),
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return workload.identity.object("apps/v1", "Deployment", spec=spec)


def disruption_budget(identity: Identity) -> Object:
    """Return a budget of one pod at a time.

    ``maxUnavailable`` rather than ``minAvailable``, so that the last replica does not block a node's
    drain for ever; a pod that never became ready does not block it either.
    """
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": dict(identity.selector)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return identity.object("policy/v1", "PodDisruptionBudget", spec=spec)


def network_policy(workload: Workload, callers: Iterable[Peer], outward: int | None) -> Object:
    """Return a policy that denies all traffic but the listed.

    Args:
        workload: the pods.
        callers: who may connect to the port named ``http`` and the further ones; nobody where it is empty.
        outward: the TCP port of a remote model store, at any address; None where there is none.
    """
    peers = [_peer(caller) for caller in callers]
    egress = [name_lookups()]
    if outward is not None:
        egress.append({"ports": [{"port": outward, "protocol": "TCP"}]})
    ports = [{"port": name, "protocol": "TCP"} for name in ("http", *workload.ports)]
    spec = {
        "egress": egress,
        "ingress": [{"from": peers, "ports": ports}] if peers else [],
        "podSelector": {"matchLabels": dict(workload.identity.selector)},
        "policyTypes": ["Ingress", "Egress"],
    }
    return workload.identity.object("networking.k8s.io/v1", "NetworkPolicy", spec=spec)


def name_lookups() -> Object:
    """Return the rule that lets pods ask cluster DNS, or the address of a node-local DNS cache."""
    dns = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ]
    return {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}], "to": dns}


def _peer(caller: Peer) -> Object:
    peer: Object = {}
    if caller.namespaces:
        peer["namespaceSelector"] = {"matchLabels": dict(caller.namespaces)}
    if caller.pods:
        peer["podSelector"] = {"matchLabels": dict(caller.pods)}
    return peer
