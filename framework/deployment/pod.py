"""The pod of our own server: it may do nothing but fetch one model, check it and answer.

It meets the Pod Security level ``restricted``. The command line is ``framework.server``'s; what the
server does with it, this module does not know.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from framework.core.errors import ReleaseError
from framework.core.release import LOCK
from framework.manifests.identity import Identity, Object

if TYPE_CHECKING:
    from framework.deployment.cluster import ClusterDeployment

PROBE_PERIOD = 10
"""Seconds between two health checks."""
SETTINGS = "serving.json"
"""The ConfigMap's file with the server's settings, beside the lock."""

_WORKING_FOLDER = "/srv"
_CONFIG_FOLDER = "/etc/gitune"
_MODEL_FOLDER = "/models"
_TEMPORARY_FOLDER = "/tmp"
_USER = 10001
_PRESTOP_SECONDS = 5


def is_remote(model_uri: str) -> bool:
    """Tell whether a model store is reached over the network rather than as a volume.

    >>> is_remote("s3://bucket/models/abc"), is_remote("file://.gitune/models/abc"), is_remote("models/abc")
    (True, False, False)
    """
    scheme, separator, _ = model_uri.partition("://")
    return bool(separator) and scheme not in ("file", "local")


def server_pod(target: "ClusterDeployment", identity: Identity, model_uri: str, port: int) -> Object:
    """Return the spec of a pod that fetches *model_uri*, checks its digest and serves it.

    Args:
        target: sizes, image and secrets.
        identity: whose pod it is.
        model_uri: the release's model; a relative path is below the container's working folder.
        port: the TCP port that the server binds.

    Raises:
        ReleaseError: *model_uri* is a path that no volume can be mounted for.
    """
    return {
        "automountServiceAccountToken": False,
        "containers": [_server(target, port)],
        "enableServiceLinks": False,
        "initContainers": [_fetch(target, model_uri)],
        "securityContext": {
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsGroup": _USER,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": identity.name,
        "terminationGracePeriodSeconds": _PRESTOP_SECONDS + target.grace_seconds,
        "topologySpreadConstraints": _spread(identity.selector),
        "volumes": _volumes(target, identity, model_uri),
    }


def _fetch(target: "ClusterDeployment", model_uri: str) -> Object:
    container = _container("fetch-model", target, "--fetch-only")
    container["resources"] = _resources(target, gpus=0)
    container["volumeMounts"] = _mounts(model_read_only=False)
    if not is_remote(model_uri):
        store = {"mountPath": _store_folder(model_uri), "name": "store", "readOnly": True}
        container["volumeMounts"].append(store)
    elif target.store_secret is not None:
        container["envFrom"] = [{"secretRef": {"name": target.store_secret}}]
    return container


def _server(target: "ClusterDeployment", port: int) -> Object:
    return {
        **_container("server", target),
        # Gives every proxy the time to hear that this pod leaves before it stops to accept.
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRESTOP_SECONDS}}},
        "livenessProbe": _probe("/health", failures=6),
        "ports": [{"containerPort": port, "name": "http", "protocol": "TCP"}],
        "readinessProbe": _probe("/ready", failures=3),
        "resources": _resources(target, target.gpus),
        "startupProbe": _probe("/ready", failures=target.startup_seconds // PROBE_PERIOD),
        "volumeMounts": _mounts(model_read_only=True),
    }


def _container(name: str, target: "ClusterDeployment", *flags: str) -> Object:
    return {
        "args": [
            *("--release", f"{_CONFIG_FOLDER}/{LOCK}"),
            *("--config", f"{_CONFIG_FOLDER}/{SETTINGS}"),
            *("--model", f"{_MODEL_FOLDER}/model"),
            *flags,
        ],
        "command": ["python", "-m", "framework.server"],
        "env": [{"name": "HOME", "value": _TEMPORARY_FOLDER}],  # libraries cache there; the root is read-only
        "image": target.image,
        "imagePullPolicy": "IfNotPresent",
        "name": name,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "workingDir": _WORKING_FOLDER,
    }


def _resources(target: "ClusterDeployment", gpus: int) -> Object:
    gpu = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {
        "limits": {**target.limits.model_dump(), **gpu},
        "requests": {**target.requests.model_dump(), "ephemeral-storage": target.model_space, **gpu},
    }


def _probe(path: str, failures: int) -> Object:
    return {
        "failureThreshold": failures,
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": PROBE_PERIOD,
        "timeoutSeconds": 5,
    }


def _mounts(model_read_only: bool) -> list[Object]:
    return [
        {"mountPath": _CONFIG_FOLDER, "name": "config", "readOnly": True},
        {"mountPath": _MODEL_FOLDER, "name": "model", **({"readOnly": True} if model_read_only else {})},
        {"mountPath": _TEMPORARY_FOLDER, "name": "tmp"},
    ]


def _volumes(target: "ClusterDeployment", identity: Identity, model_uri: str) -> list[Object]:
    volumes: list[dict[str, Any]] = [
        {"configMap": {"name": identity.name}, "name": "config"},
        {"emptyDir": {"sizeLimit": target.model_space}, "name": "model"},
        {"emptyDir": {"sizeLimit": "1Gi"}, "name": "tmp"},
    ]
    if not is_remote(model_uri):
        claim = {"claimName": target.model_volume_claim, "readOnly": True}
        volumes.append({"name": "store", "persistentVolumeClaim": claim})
    return volumes


def _store_folder(model_uri: str) -> str:
    """Return where the store's volume is mounted, so that *model_uri* is found below it."""
    path = PurePosixPath(model_uri.partition("://")[2] or model_uri)
    folder = PurePosixPath(_WORKING_FOLDER, path).parent
    taken = ("/", _WORKING_FOLDER, _CONFIG_FOLDER, _MODEL_FOLDER, _TEMPORARY_FOLDER)
    if ".." in path.parts or ":" in str(folder) or str(folder) in taken:
        raise ReleaseError(
            f"{LOCK}: model_uri: a volume cannot be mounted for '{model_uri}'; publish to a folder of its "
            "own, such as publish.url=file://.gitune/models, or to a remote store"
        )
    return str(folder)


def _spread(selector: Mapping[str, str]) -> list[Object]:
    """Return constraints that keep a release's pods apart, over zones and nodes, where there is room."""
    return [
        {
            "labelSelector": {"matchLabels": dict(selector)},
            "matchLabelKeys": ["pod-template-hash"],
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
