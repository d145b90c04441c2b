"""The pod around every server: fetch one model, check it, start the server that was handed in.

It meets the Pod Security level ``restricted``. The init container's command line is
``framework.server``'s; what the server itself does, this module does not know.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from framework.core.errors import ReleaseError
from framework.core.release import LOCK
from framework.manifests.identity import Identity, Object
from framework.manifests.scheduling import GPU, placement
from framework.manifests.values import amount, binary

if TYPE_CHECKING:
    from framework.delivery.deployment.cluster_deployment import ClusterDeployment

PROBE_PERIOD = 10
"""Seconds between two health checks."""
CONFIG_FOLDER = "/etc/gitune"
"""Where the ConfigMap's files lie in every container."""
MODEL_FOLDER = "/models"
"""The volume of the model's copy."""
MODEL = f"{MODEL_FOLDER}/model"
"""The published folder, once it is checked."""
WORKING_FOLDER = "/srv"
"""Where relative paths of a ``file://`` model store begin."""
TEMPORARY_FOLDER = "/tmp"

_USER = 10001
_PRESTOP_SECONDS = 5


def is_remote(model_uri: str) -> bool:
    """Tell whether a model store is reached over the network rather than as a volume.

    >>> is_remote("s3://bucket/models/abc"), is_remote("file://.gitune/models/abc"), is_remote("models/abc")
    (True, False, False)
    """
    scheme, separator, _ = model_uri.partition("://")
    return bool(separator) and scheme not in ("file", "local")


def server_pod(
    target: "ClusterDeployment",
    identity: Identity,
    model_uri: str,
    server: Object,
    *,
    flags: Sequence[str] = (),
    volumes: Sequence[Object] = (),
    mounts: Sequence[Object] = (),
) -> Object:
    """Return the spec of a pod that fetches *model_uri*, checks its digest and starts *server*.

    Args:
        target: sizes, images, places and secrets.
        identity: whose pod it is.
        model_uri: the release's model; a relative path is below the container's working folder.
        server: the container that answers, as ``container`` builds it.
        flags: what ``framework.server`` does with the model besides fetching it.
        volumes: what the pod has besides the config, the model and ``/tmp``.
        mounts: where the init container has them.

    Raises:
        ReleaseError: *model_uri* is a path that no volume can be mounted for.
    """
    return {
        "automountServiceAccountToken": False,
        "containers": [server],
        "enableServiceLinks": False,
        "initContainers": [_fetch(target, model_uri, flags, mounts)],
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
        "volumes": [*_volumes(target, identity, model_uri), *volumes],
        **placement(
            identity.selector,
            node_selector=target.node_selector,
            tolerations=target.tolerations,
            priority_class=target.priority_class,
            capacity=target.capacity,
            gpus=target.gpus,
        ),
    }


def container(
    name: str, image: str, target: "ClusterDeployment", *, gpus: int = 0, model_read_only: bool = True
) -> Object:
    """Return a container that may do nothing but read the config and the model and write to ``/tmp``.

    Args:
        name: its name in the pod.
        image: what it runs.
        target: its sizes, and whether the model is a volume of its own.
        gpus: GPUs that it gets.
        model_read_only: whether it may not change the model's folder.
    """
    return {
        "env": [{"name": "HOME", "value": TEMPORARY_FOLDER}],  # libraries cache there; the root is read-only
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "name": name,
        "resources": _resources(target, gpus),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": _mounts(target, model_read_only),
    }


def answering(
    target: "ClusterDeployment", port: int, *, alive: str, ready: str, started: Object | None = None
) -> Object:
    """Return the part of a container that answers requests: port, probes and a gentle end.

    Args:
        target: how long starting may take.
        port: the TCP port that the server binds.
        alive: the path that answers while the process runs.
        ready: the path that answers while requests are welcome.
        started: how the startup probe asks for the first answer of the model; None asks *ready*.
    """
    failures = target.startup_seconds // PROBE_PERIOD
    startup = _probe(ready, failures)
    if started is not None:
        startup = {"failureThreshold": failures, "periodSeconds": PROBE_PERIOD, **started}
    return {
        # Gives every proxy the time to hear that this pod leaves before it stops to accept.
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRESTOP_SECONDS}}},
        "livenessProbe": _probe(alive, failures=6),
        "ports": [{"containerPort": port, "name": "http", "protocol": "TCP"}],
        "readinessProbe": _probe(ready, failures=3),
        "startupProbe": startup,
    }


def server_command(*flags: str) -> Object:
    """Return how ``framework.server`` is started on the release in the ConfigMap."""
    return {
        "args": ["--release", f"{CONFIG_FOLDER}/{LOCK}", *flags],
        "command": ["python", "-m", "framework.server"],
        "workingDir": WORKING_FOLDER,
    }


def scratch(name: str, size: str, **source: str) -> Object:
    """Return a volume that lives as long as the pod."""
    return {"emptyDir": {**source, "sizeLimit": size}, "name": name}


def _fetch(
    target: "ClusterDeployment", model_uri: str, flags: Sequence[str], mounts: Sequence[Object]
) -> Object:
    fetched = target.model_image is None
    step = "--fetch-only" if fetched else "--check-only"
    found = container(
        "fetch-model" if fetched else "check-model", target.fetcher, target, model_read_only=not fetched
    )
    found |= server_command("--model", MODEL, step, *flags)
    found["volumeMounts"] += mounts
    if not fetched:
        return found
    if not is_remote(model_uri):
        store = {"mountPath": store_folder(model_uri), "name": "store", "readOnly": True}
        found["volumeMounts"].append(store)
    elif target.store_secret is not None:
        found["envFrom"] = [{"secretRef": {"name": target.store_secret}}]
    return found


def _resources(target: "ClusterDeployment", gpus: int) -> Object:
    gpu = {GPU: str(gpus)} if gpus else {}
    # All that the pod may write: on a full node, those that wrote more than they asked for go first.
    disk = binary(amount(target.model_space) + amount(target.temporary_space))
    return {
        "limits": {**target.limits.model_dump(), **gpu},
        "requests": {**target.requests.model_dump(), "ephemeral-storage": disk, **gpu},
    }


def _probe(path: str, failures: int) -> Object:
    return {
        "failureThreshold": failures,
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": PROBE_PERIOD,
        "timeoutSeconds": 5,
    }


def _mounts(target: "ClusterDeployment", model_read_only: bool) -> list[Object]:
    model = MODEL_FOLDER if target.model_image is None else MODEL
    return [
        {"mountPath": CONFIG_FOLDER, "name": "config", "readOnly": True},
        {"mountPath": model, "name": "model", **({"readOnly": True} if model_read_only else {})},
        {"mountPath": TEMPORARY_FOLDER, "name": "tmp"},
    ]


def _volumes(target: "ClusterDeployment", identity: Identity, model_uri: str) -> list[Object]:
    model: Object = scratch("model", target.model_space)
    if target.model_image is not None:
        model = {"image": {"pullPolicy": "IfNotPresent", "reference": target.model_image}, "name": "model"}
    volumes: list[dict[str, Any]] = [
        {"configMap": {"name": identity.name}, "name": "config"},
        model,
        scratch("tmp", target.temporary_space),
    ]
    if target.model_image is None and not is_remote(model_uri):
        claim = {"claimName": target.model_volume_claim, "readOnly": True}
        volumes.append({"name": "store", "persistentVolumeClaim": claim})
    return volumes


def store_folder(model_uri: str) -> str:
    """Return where the store's volume is mounted, so that *model_uri* is found below it.

    Raises:
        ReleaseError: *model_uri* is a path that no volume can be mounted for.
    """
    path = PurePosixPath(model_uri.partition("://")[2] or model_uri)
    folder = PurePosixPath(WORKING_FOLDER, path).parent
    taken = ("/", WORKING_FOLDER, CONFIG_FOLDER, MODEL_FOLDER, TEMPORARY_FOLDER)
    if ".." in path.parts or ":" in str(folder) or str(folder) in taken:
        raise ReleaseError(
            f"{LOCK}: model_uri: a volume cannot be mounted for '{model_uri}'; publish to a folder of its "
            "own, such as publish.url=file://.gitune/models, or to a remote store"
        )
    return str(folder)
