"""The pod of every model server: an init container fetches and verifies the model, then the server starts.

The init container runs ``framework.server``. The caller supplies the server's own container.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from framework.core.errors import ReleaseError
from framework.core.release import LOCK
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.model_size import UNKNOWN_SPACE
from framework.manifests.identity import Identity, Object
from framework.manifests.pod import (
    CONFIG_FOLDER,
    TEMPORARY_FOLDER,
    WORKING_FOLDER,
    PodSettings,
    mounts,
    restricted_container,
    restricted_pod,
    scratch,
    volumes,
)
from framework.manifests.values import Amounts, Bytes, Image, ObjectName, SecretKey, amount, binary

PROBE_PERIOD = 10
"""Seconds between two health checks."""
MODEL_FOLDER = "/models"
"""Mount path of the volume with the model's copy."""
MODEL = f"{MODEL_FOLDER}/model"
"""The published folder, after verification."""

_PRESTOP_SECONDS = 5


class ServerSettings(PodSettings):
    """Settings of a server's pod: images, model volume, secrets and probes."""

    image: Image
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""
    fetch_image: Image | None = None
    """Our own server's image, which fetches and verifies the model before the server starts. None uses
    ``image``."""
    requests: Amounts = Amounts(cpu="2", memory="8Gi")
    """CPU and memory that each pod reserves. Autoscalers compute CPU use relative to this."""
    limits: Amounts = Amounts(cpu="4", memory="16Gi")
    """The most CPU and memory that each pod can use. ``serving.threads: 0`` uses this number of cores."""
    model_space: Bytes | None = None
    """Size limit of the volume for the model's copy, on disk. None takes the size of the weights from the
    lock, a tenth more and 1 GiB, or 10Gi where the lock records no size."""
    temporary_space: Bytes = "1Gi"
    """Size limit of ``/tmp``, on disk, where libraries cache what they compile."""
    model_image: Image | None = None
    """An OCI image with the published folder's files at its root, ``…@sha256:<64 hex digits>``. It is mounted
    as a volume (Kubernetes 1.35 or later) instead of fetching from the store. Its digest is still verified
    before the server starts. None fetches from the store."""
    model_volume_claim: ObjectName = "gitune-models"
    """The PersistentVolumeClaim with a ``file://`` model store, mounted read-only; unused with a remote
    store. With several nodes it must allow ReadOnlyMany or ReadWriteMany."""
    store_secret: ObjectName | None = None
    """The Secret with the credentials of a remote model store; its keys become environment variables of the
    init container."""
    api_key_secret: SecretKey | None = None
    """The Secret, and its key, that holds the API key. Every request except probes and metrics must send it
    as ``Authorization: Bearer``. The key itself is not stored in Git. None accepts requests without a key."""
    startup_seconds: Annotated[int, Field(ge=10, le=3600, multiple_of=PROBE_PERIOD)] = 50
    """Longest time to load the model, at least its size at ``load_mib_per_second``. Fetching it is allowed
    the same time again. Both count toward a rollback, together with the time until Argo CD sees the commit; a
    rollback should take five minutes at most."""
    load_mib_per_second: Annotated[int, Field(ge=1)] = 200
    """MiB per second at which pods fetch and load the model at least, so that its size gives the least
    ``startup_seconds``. 200 is a network disk's; measure yours."""
    grace_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    """Longest time that a stopping pod has to finish its answers."""

    @property
    def fetcher(self) -> str:
        """The image that fetches and verifies the model."""
        return self.fetch_image or self.image

    @property
    def space(self) -> str:
        """Size limit of the model's volume."""
        return self.model_space or UNKNOWN_SPACE

    @property
    def start_seconds(self) -> int:
        """Longest time from a pod's creation until it is ready."""
        return 2 * self.startup_seconds


def is_remote(model_uri: str) -> bool:
    """Return whether a model store is reached over the network instead of mounted as a volume.

    >>> is_remote("s3://bucket/models/abc"), is_remote("file://.gitune/models/abc"), is_remote("models/abc")
    (True, False, False)
    """
    scheme, separator, _ = model_uri.partition("://")
    return bool(separator) and scheme not in ("file", "local")


def fetches_beside(delivery: Delivery, model_uri: str, *, mounted: bool) -> bool:
    """Return whether the init container also fetches what the server's settings name.

    Args:
        delivery: the server's options and the environment.
        model_uri: the release's model.
        mounted: whether the model is an image, so that nothing is fetched.

    Raises:
        ReleaseError: nothing vouches for it, or it is not in the model's store, which alone pods can reach.
    """
    store, sources = model_uri.rpartition("/")[0], delivery.serving.beside()
    for option, source in sources.items():
        if delivery.environment.signers:
            raise ReleaseError(
                f"{option}: the lock's signature does not cover it; build a release with the merged adapter"
            )
        if mounted:
            raise ReleaseError(f"{option}: pods fetch nothing with deployment.model_image; unset one")
        if source.rstrip("/").rpartition("/")[0] != store:
            raise ReleaseError(
                f"{option}: pods reach the model's store alone; publish it there: {store}/<digest>"
            )
    return bool(sources)


def server_pod(
    settings: ServerSettings,
    identity: Identity,
    model_uri: str,
    server: Object,
    *,
    fetch_flags: Sequence[str] = (),
    fetch_mounts: Sequence[Object] = (),
    extra_volumes: Sequence[Object] = (),
) -> Object:
    """Return the spec of a pod that fetches *model_uri*, verifies its digest and starts *server*.

    Args:
        settings: images, resources, scheduling and secrets.
        identity: the release's name and labels.
        model_uri: the release's model; a relative path is below the container's working folder.
        server: the server's container, as ``container`` builds it.
        fetch_flags: further flags of ``framework.server`` in the init container.
        fetch_mounts: further volume mounts of the init container.
        extra_volumes: volumes besides the config, the model and ``/tmp``.

    Raises:
        ReleaseError: *model_uri* is a path that no volume can be mounted for.
    """
    pod = restricted_pod(
        settings,
        identity,
        [server],
        service_account=identity.name,
        grace_seconds=_PRESTOP_SECONDS + settings.grace_seconds,
        volumes=[*_volumes(settings, identity, model_uri), *extra_volumes],
    )
    return pod | {"initContainers": [_fetch(settings, model_uri, fetch_flags, fetch_mounts)]}


def container(
    name: str, image: str, settings: ServerSettings, *, gpus: int = 0, model_read_only: bool = True
) -> Object:
    """Return a container that can only read the config and the model and write to ``/tmp``.

    Args:
        name: its name in the pod.
        image: its image.
        settings: its resources, and whether the model is mounted as a volume of its own.
        gpus: NVIDIA GPUs of the container.
        model_read_only: whether the model's folder is mounted read-only.
    """
    # All that the pod can write: on a full node, pods that exceed their request are evicted first.
    disk = binary(amount(settings.space) + amount(settings.temporary_space))
    model = {
        "mountPath": MODEL_FOLDER if settings.model_image is None else MODEL,
        "name": "model",
        **({"readOnly": True} if model_read_only else {}),
    }
    return restricted_container(name, image, settings.resources(gpus, disk), mounts(model))


def answering(
    settings: ServerSettings, port: int, *, alive: str, ready: str, started: Object | None = None
) -> Object:
    """Return the fields of a container that answers requests: port, probes and a graceful stop.

    Args:
        settings: how long startup can take.
        port: the TCP port that the server binds.
        alive: HTTP path that succeeds while the process runs.
        ready: HTTP path that succeeds while the server accepts requests.
        started: the startup probe's action, which checks the model's first answer; None requests *ready*.
    """
    failures = settings.startup_seconds // PROBE_PERIOD
    startup = _probe(ready, failures)
    if started is not None:
        startup = {"failureThreshold": failures, "periodSeconds": PROBE_PERIOD, **started}
    return {
        # Proxies need time to notice that this pod is leaving before it stops accepting connections.
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRESTOP_SECONDS}}},
        "livenessProbe": _probe(alive, failures=6),
        "ports": [{"containerPort": port, "name": "http", "protocol": "TCP"}],
        "readinessProbe": _probe(ready, failures=3),
        "startupProbe": startup,
    }


def server_command(*flags: str) -> Object:
    """Return the command that starts ``framework.server`` with the release in the ConfigMap."""
    return {
        "args": ["--release", f"{CONFIG_FOLDER}/{LOCK}", *flags],
        "command": ["python", "-m", "framework.server"],
        "workingDir": WORKING_FOLDER,
    }


def store_folder(model_uri: str) -> str:
    """Return the mount path of the store's volume under which *model_uri* is found.

    Raises:
        ReleaseError: *model_uri* is a path that no volume can be mounted for.
    """
    path = PurePosixPath(model_uri.partition("://")[2] or model_uri)
    folder = PurePosixPath(WORKING_FOLDER, path).parent
    taken = ("/", WORKING_FOLDER, CONFIG_FOLDER, MODEL_FOLDER, TEMPORARY_FOLDER)
    if ".." in path.parts or ":" in str(folder) or str(folder) in taken:
        raise ReleaseError(
            f"{LOCK}: model_uri: no volume can be mounted for '{model_uri}'; publish to a folder of its own, "
            "such as publish.url=file://.gitune/models, or to a remote store"
        )
    return str(folder)


def _fetch(
    settings: ServerSettings, model_uri: str, flags: Sequence[str], extra_mounts: Sequence[Object]
) -> Object:
    """Return the init container that fetches the model, or only verifies a mounted one."""
    fetches = settings.model_image is None
    init = container(
        "fetch-model" if fetches else "check-model",
        settings.fetcher,
        settings,
        model_read_only=not fetches,
    )
    init |= server_command("--model", MODEL, "--fetch-only" if fetches else "--check-only", *flags)
    init["volumeMounts"] += extra_mounts
    if not fetches:
        return init
    if not is_remote(model_uri):
        store = {"mountPath": store_folder(model_uri), "name": "store", "readOnly": True}
        init["volumeMounts"].append(store)
    elif settings.store_secret is not None:
        init["envFrom"] = [{"secretRef": {"name": settings.store_secret}}]
    return init


def _probe(path: str, failures: int) -> Object:
    return {
        "failureThreshold": failures,
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": PROBE_PERIOD,
        "timeoutSeconds": 5,
    }


def _volumes(settings: ServerSettings, identity: Identity, model_uri: str) -> list[Object]:
    model = scratch("model", settings.space)
    if settings.model_image is not None:
        model = {"image": {"pullPolicy": "IfNotPresent", "reference": settings.model_image}, "name": "model"}
    pod_volumes = volumes(identity, settings, model)
    if settings.model_image is None and not is_remote(model_uri):
        claim = {"claimName": settings.model_volume_claim, "readOnly": True}
        pod_volumes.append({"name": "store", "persistentVolumeClaim": claim})
    return pod_volumes
