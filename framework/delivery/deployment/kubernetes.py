"""Our own server in Kubernetes, on CPU or GPU.

An init container fetches the model from the model store and verifies the release's digest before the server
starts. ``framework.serving`` is the server.
"""

import json

from framework.core.release import LOCK, Release
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.own_server import KEYS_FILE, KEYS_FOLDER, SETTINGS, OwnServer
from framework.delivery.deployment.server_pod import (
    MODEL,
    answering,
    container,
    fetches_beside,
    server_command,
    server_pod,
)
from framework.manifests.identity import Object
from framework.manifests.pod import CONFIG_FOLDER
from framework.manifests.server_signals import GITUNE
from framework.manifests.values import Image, SecretKey, amount
from framework.manifests.workload import Workload
from framework.serving import API_KEY, Serving


class Kubernetes(OwnServer, ClusterDeployment):
    """Pods of our own server."""

    image: Image = "gitune/server:0.1.0"
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return the pods that fetch the model, verify it and serve it.

        Raises:
            ReleaseError: no volume can be mounted for the release's model.
        """
        return own_workload(self.sized(delivery, release), release, delivery)


def own_workload(
    target: OwnServer, release: Release, delivery: Delivery, container: str = "server"
) -> Workload:
    """Return the pods of our own server, which fetch the model, verify it and serve it.

    Args:
        target: images, resources, scheduling and secrets.
        release: the release that is served.
        delivery: the server's settings and the namespace.
        container: name of the server's container.

    Raises:
        ReleaseError: no volume can be mounted for the release's model, or adapters are in another store.
    """
    identity, serving = target.identity(release, delivery), delivery.serving
    server = server_container(target, serving, container)
    beside = fetches_beside(delivery, release.model_uri, mounted=target.model_image is not None)
    flags = ("--config", f"{CONFIG_FOLDER}/{SETTINGS}") if beside else ()
    keys = [keys_volume(target.keys_secret)] if target.keys_secret is not None else []
    return Workload(
        identity=identity,
        pod=server_pod(target, identity, release.model_uri, server, fetch_flags=flags, extra_volumes=keys),
        files={
            LOCK: release.served().text(),
            SETTINGS: settings_text(serving, target.limits.cpu, target.keys_file),
        },
        service_port=target.service_port,
        start_seconds=target.start_seconds,
        signals=GITUNE,
    )


def settings_text(serving: Serving, cpu: str, keys: str | None = None) -> str:
    """Return the server's settings file for a container limited to *cpu* cores.

    It has what differs from the defaults, so that an image of an earlier version reads it, too: one refuses
    fields that it does not know, and the image and the runner are not replaced at once.

    Args:
        serving: the settings.
        cpu: the container's limit of cores.
        keys: the path of the file of API keys in it; None has none.
    """
    # A runtime that starts a thread per core of the node would be throttled.
    threads = serving.threads or max(1, int(amount(cpu)))
    settings = serving.model_copy(update={"host": "0.0.0.0", "threads": threads, "keys": keys})
    return json.dumps(settings.changes(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def server_container(target: OwnServer, serving: Serving, name: str) -> Object:
    """Return the container of our own server, which verifies the model once more.

    Args:
        target: its image, resources, API key and environment.
        serving: its options.
        name: its name in the pod.
    """
    server = container(name, target.image, target, gpus=target.gpus)
    server |= server_command("--config", f"{CONFIG_FOLDER}/{SETTINGS}", "--model", MODEL)
    server |= answering(target, serving.port, alive="/health", ready="/ready")
    if target.api_key_secret is not None:
        server["env"].append({"name": API_KEY, "valueFrom": target.api_key_secret.manifest()})
    if secrets := target.environment_secrets(serving):
        server["envFrom"] = [{"secretRef": {"name": secret}} for secret in secrets]
    if target.keys_secret is not None:
        server["volumeMounts"].append({"mountPath": KEYS_FOLDER, "name": "keys", "readOnly": True})
    return server


def keys_volume(secret: SecretKey) -> Object:
    """Return the volume with the file of API keys, and nothing else of *secret*."""
    items = [{"key": secret.key, "path": KEYS_FILE}]
    return {"name": "keys", "secret": {"items": items, "secretName": secret.name}}
