"""Our own server in Kubernetes, on CPU or GPU.

An init container fetches the model from the model store and verifies the release's digest before the server
starts. ``framework.serving`` is the server.
"""

import json
from typing import ClassVar

from framework.core.release import LOCK, Release
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.server_pod import MODEL, answering, container, server_command, server_pod
from framework.manifests.identity import Object
from framework.manifests.pod import CONFIG_FOLDER
from framework.manifests.server_signals import GITUNE
from framework.manifests.values import Image, amount
from framework.manifests.workload import Workload
from framework.serving import API_KEY, Serving

SETTINGS = "serving.json"
"""The ConfigMap's file with the server's settings."""


class Kubernetes(ClusterDeployment):
    """Pods of our own server."""

    runs_serving: ClassVar[bool] = True

    image: Image = "gitune/server:0.1.0"
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return the pods that fetch the model, verify it and serve it.

        Raises:
            ReleaseError: no volume can be mounted for the release's model.
        """
        return own_workload(self.sized(delivery, release), release, delivery)


def own_workload(
    target: ClusterDeployment, release: Release, delivery: Delivery, container: str = "server"
) -> Workload:
    """Return the pods of our own server, which fetch the model, verify it and serve it.

    Args:
        target: images, resources, scheduling and secrets.
        release: the release that is served.
        delivery: the server's settings and the namespace.
        container: name of the server's container.

    Raises:
        ReleaseError: no volume can be mounted for the release's model.
    """
    identity, serving = target.identity(release, delivery), delivery.serving
    server = server_container(target, serving.port, container)
    return Workload(
        identity=identity,
        pod=server_pod(target, identity, release.model_uri, server),
        files={
            LOCK: release.served().text(),
            SETTINGS: settings_text(serving, target.limits.cpu),
        },
        service_port=target.service_port,
        start_seconds=target.start_seconds,
        signals=GITUNE,
    )


def settings_text(serving: Serving, cpu: str) -> str:
    """Return the server's settings file for a container limited to *cpu* cores."""
    # A runtime that starts a thread per core of the node would be throttled.
    threads = serving.threads or max(1, int(amount(cpu)))
    settings = serving.model_copy(update={"host": "0.0.0.0", "threads": threads})
    return json.dumps(settings.dump(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def server_container(target: ClusterDeployment, port: int, name: str) -> Object:
    """Return the container of our own server, which verifies the model once more.

    Args:
        target: its image, resources and API key.
        port: the TCP port that it binds.
        name: its name in the pod.
    """
    server = container(name, target.image, target, gpus=target.gpus)
    server |= server_command("--config", f"{CONFIG_FOLDER}/{SETTINGS}", "--model", MODEL)
    server |= answering(target, port, alive="/health", ready="/ready")
    if target.api_key_secret is not None:
        server["env"].append({"name": API_KEY, "valueFrom": target.api_key_secret.manifest()})
    return server
