"""The pods that run background jobs beside our own server, where ``serving.jobs.broker`` is set.

They need neither the model nor a GPU. Nothing connects to them. They connect to the server, the broker and
the database.
"""

from collections.abc import Sequence
from dataclasses import replace

from framework.core.release import LOCK
from framework.delivery.deployment.server_pod import ServerSettings
from framework.manifests.egress import Egress, cilium_policy, dns_egress
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import disruption_budget, network_policy
from framework.manifests.pod import (
    CONFIG_FOLDER,
    TEMPORARY_FOLDER,
    WORKING_FOLDER,
    restricted_container,
    restricted_pod,
    scratch,
)
from framework.manifests.workload import Workload
from framework.serving import API_KEY

_PULSE = f"{TEMPORARY_FOLDER}/worker-runs"
_ALIVE = f'test -n "$(find {_PULSE} -mmin -5)"'
"""Succeeds while the worker's loop has run in the last five minutes."""
_RESOURCES = {
    "limits": {"cpu": "1", "memory": "1Gi"},
    "requests": {"cpu": "100m", "ephemeral-storage": "64Mi", "memory": "512Mi"},
}


def worker_identity(identity: Identity) -> Identity:
    """Return the identity of the workers of a release, whose labels no Service selects."""
    selector = {**identity.selector, "app.kubernetes.io/name": "gitune-job-worker"}
    labels = {**identity.labels, **selector}
    return replace(identity, name=f"{identity.name}-jobs", selector=selector, labels=labels)


def worker_objects(
    server: Workload,
    settings: ServerSettings,
    command: Sequence[str],
    replicas: int,
    *,
    url: str,
    port: int,
    settings_file: str,
    secret: str | None,
    egress: Sequence[Egress],
    by_name: bool,
) -> list[Object]:
    """Return the Deployment, the network policies and the disruption budget of the workers.

    Args:
        server: the server's pods.
        settings: image, scheduling and API key.
        command: starts a worker.
        replicas: how many workers.
        url: the server's, in the cluster.
        port: the port of its pods.
        settings_file: the server's settings among its files.
        secret: the Secret whose keys become environment variables.
        egress: where broker and database are.
        by_name: whether Cilium opens them by name.
    """
    identity = worker_identity(server.identity)
    worker = _container(settings, command, url, settings_file, secret)
    # Nodes with GPUs are not for them.
    placed = settings.model_copy(update={"node_selector": {}} if server.has_gpus else {})
    pod = restricted_pod(
        placed,
        identity,
        [worker],
        service_account=server.identity.name,
        grace_seconds=settings.grace_seconds,
        volumes=[
            {"configMap": {"name": identity.name}, "name": "config"},
            scratch("tmp", "64Mi"),
        ],
    )
    workload = replace(server, identity=identity, pod=pod, ports={})
    return [
        identity.object("apps/v1", "Deployment", spec=_deployment(workload, replicas)),
        *_policies(workload, server.identity, port, egress, by_name=by_name),
        disruption_budget(identity),
    ]


def _deployment(workload: Workload, replicas: int) -> Object:
    return {
        "progressDeadlineSeconds": workload.progress_seconds,
        "replicas": replicas,
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": dict(workload.identity.selector)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        # The template carries the files, so that there is no second ConfigMap.
        "template": workload.own_template(),
    }


def _policies(
    workload: Workload, server: Identity, port: int, egress: Sequence[Egress], *, by_name: bool
) -> list[Object]:
    """Return the network policies, which let nobody in."""
    to_server = {
        "ports": [{"port": port, "protocol": "TCP"}],
        "to": [{"podSelector": {"matchLabels": dict(server.selector)}}],
    }
    if by_name:
        return [network_policy(workload, [], [to_server]), cilium_policy(workload, egress)]
    rules = {str(rule := each.rule()): rule for each in egress}.values()
    return [network_policy(workload, [], [to_server, dns_egress(), *rules])]


def _container(
    settings: ServerSettings, command: Sequence[str], url: str, settings_file: str, secret: str | None
) -> Object:
    mounts: list[Object] = [
        {"mountPath": CONFIG_FOLDER, "name": "config", "readOnly": True},
        {"mountPath": TEMPORARY_FOLDER, "name": "tmp"},
    ]
    worker = restricted_container("worker", settings.image, _RESOURCES, mounts)
    files = ["--release", f"{CONFIG_FOLDER}/{LOCK}", "--config", f"{CONFIG_FOLDER}/{settings_file}"]
    worker |= {
        "args": [*files, "--url", url, "--pulse", _PULSE],
        "command": list(command),
        "workingDir": WORKING_FOLDER,
    }
    worker["livenessProbe"] = {
        "exec": {"command": ["sh", "-c", _ALIVE]},
        "failureThreshold": 3,
        "initialDelaySeconds": 60,
        "periodSeconds": 30,
        "timeoutSeconds": 5,
    }
    if settings.api_key_secret is not None:
        worker["env"].append({"name": API_KEY, "valueFrom": settings.api_key_secret.manifest()})
    if secret is not None:
        worker["envFrom"] = [{"secretRef": {"name": secret}}]
    return worker
