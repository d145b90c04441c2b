"""Builders of the Kubernetes objects around a pod, as plain dicts.

They know what a platform asks of every workload; what runs inside the pod, they are told. Values come
from validated config, so nothing is checked again here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from framework.core.release import Release
from framework.deployment.values import Peer
from framework.environment import Environment

Object = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """The name, labels and annotations that all objects of one release share."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    """Labels that find the release's pods; a Deployment's selector can never change, so they hold
    nothing that does."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    """The way back from an object: to the release, the recipe, the data and the commit."""

    @classmethod
    def of(cls, release: Release, environment: Environment) -> "Identity":
        """Return the identity of *release* in *environment*."""
        selector = {"app.kubernetes.io/instance": release.name, "app.kubernetes.io/name": "gitune-server"}
        labels = {
            "app.kubernetes.io/managed-by": "gitune",
            "app.kubernetes.io/part-of": "gitune",
            "app.kubernetes.io/version": release.digest.removeprefix("sha256:")[:12],
        }
        annotations = {
            "gitune.dev/base-model": release.base_model,
            "gitune.dev/data-digest": release.data_digest,
            "gitune.dev/digest": release.digest,
            "gitune.dev/plan": release.plan,
            "gitune.dev/recipe": release.recipe,
        }
        if release.commit is not None:
            annotations["gitune.dev/commit"] = release.commit
        return cls(release.name, environment.namespace, selector, {**selector, **labels}, annotations)

    def object(self, api_version: str, kind: str, **body: Any) -> Object:
        """Return an object of this identity with *body* beside its metadata."""
        metadata = {
            "annotations": dict(self.annotations),
            "labels": dict(self.labels),
            "name": self.name,
            "namespace": self.namespace,
        }
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def service_account(identity: Identity, image_pull_secret: str | None) -> Object:
    """Return an account that may do nothing and whose token no pod gets."""
    body: Object = {"automountServiceAccountToken": False}
    if image_pull_secret is not None:
        body["imagePullSecrets"] = [{"name": image_pull_secret}]
    return identity.object("v1", "ServiceAccount", **body)


def config_map(identity: Identity, data: Mapping[str, str]) -> Object:
    """Return a ConfigMap of files."""
    return identity.object("v1", "ConfigMap", data=dict(data))


def service(identity: Identity, port: int) -> Object:
    """Return a Service inside the cluster on *port*, to the pods' port named ``http``."""
    ports = [{"name": "http", "port": port, "protocol": "TCP", "targetPort": "http"}]
    spec = {"type": "ClusterIP", "ports": ports, "selector": dict(identity.selector)}
    return identity.object("v1", "Service", spec=spec)


def deployment(identity: Identity, pod: Object, data: Mapping[str, str], deadline: int) -> Object:
    """Return a Deployment of *pod* that rolls without a gap, and again whenever *data* change.

    It has no ``replicas``: the autoscaler owns them, and a number here would fight it at every sync.

    Args:
        identity: whose it is.
        pod: the pod's spec.
        data: the ConfigMap's files, which pods read once, when they start.
        deadline: seconds after which a rollout that got no further is reported as failed.
    """
    checksum = hashlib.sha256(json.dumps(dict(data), sort_keys=True).encode()).hexdigest()
    annotations = {
        "gitune.dev/config-checksum": f"sha256:{checksum}",
        "gitune.dev/digest": identity.annotations["gitune.dev/digest"],
    }
    spec = {
        "progressDeadlineSeconds": deadline,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(identity.selector)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"annotations": annotations, "labels": dict(identity.labels)}, "spec": pod},
    }
    return identity.object("apps/v1", "Deployment", spec=spec)


def autoscaler(identity: Identity, environment: Environment, cpu_percent: int) -> Object:
    """Return an autoscaler that grows at once and shrinks slowly, since a new pod must load its model.

    Args:
        identity: whose Deployment it scales.
        environment: gives the least and most replicas.
        cpu_percent: mean CPU use that it aims at, in percent of the requests.
    """
    target = {"type": "Utilization", "averageUtilization": cpu_percent}
    shrink = {"type": "Percent", "value": 50, "periodSeconds": 60}
    spec = {
        "behavior": {
            "scaleDown": {"policies": [shrink], "stabilizationWindowSeconds": 300},
            "scaleUp": {"stabilizationWindowSeconds": 0},
        },
        "maxReplicas": environment.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        "minReplicas": environment.min_replicas,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": identity.name},
    }
    return identity.object("autoscaling/v2", "HorizontalPodAutoscaler", spec=spec)


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


def network_policy(identity: Identity, callers: Iterable[Peer], outward: int | None) -> Object:
    """Return a policy that denies all traffic but the listed.

    Args:
        identity: whose pods it is about.
        callers: who may connect to the port named ``http``; nobody where it is empty.
        outward: the TCP port of a remote model store, at any address; None where there is none.
    """
    peers = [_peer(caller) for caller in callers]
    # Cluster DNS, and the address that a node-local DNS cache listens on.
    dns = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ]
    egress: list[Object] = [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}], "to": dns}
    ]
    if outward is not None:
        egress.append({"ports": [{"port": outward, "protocol": "TCP"}]})
    spec = {
        "egress": egress,
        "ingress": [{"from": peers, "ports": [{"port": "http", "protocol": "TCP"}]}] if peers else [],
        "podSelector": {"matchLabels": dict(identity.selector)},
        "policyTypes": ["Ingress", "Egress"],
    }
    return identity.object("networking.k8s.io/v1", "NetworkPolicy", spec=spec)


def _peer(caller: Peer) -> Object:
    peer: Object = {}
    if caller.namespaces:
        peer["namespaceSelector"] = {"matchLabels": dict(caller.namespaces)}
    if caller.pods:
        peer["podSelector"] = {"matchLabels": dict(caller.pods)}
    return peer
