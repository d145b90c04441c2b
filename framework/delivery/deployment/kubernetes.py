"""Our own server in Kubernetes, on CPU or GPU.

The model arrives by digest: an init container fetches it from the model store and compares it with the
release before the server starts. How the server answers, ``framework.serving`` decides.
"""

import json

from framework.core.release import LOCK, Release
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.server_pod import MODEL, answering, container, server_command, server_pod
from framework.manifests.identity import Object
from framework.manifests.pod import CONFIG_FOLDER
from framework.manifests.signals import GITUNE
from framework.manifests.values import Image, amount
from framework.manifests.workload import Workload
from framework.serving import API_KEY, Serving

SETTINGS = "serving.json"
"""The ConfigMap's file with the server's settings, beside the lock."""


class Kubernetes(ClusterDeployment):
    """Pods of our own server."""

    image: Image = "gitune/server:0.1.0"
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return pods that fetch the model, check it and answer.

        Raises:
            ReleaseError: the release's model lies where no volume can be mounted.
        """
        return own_workload(self.sized(delivery), release, delivery)


def own_workload(
    target: ClusterDeployment, release: Release, delivery: Delivery, container: str = "server"
) -> Workload:
    """Return pods of our own server that fetch the model, check it and answer.

    Args:
        target: images, sizes, places and secrets.
        release: what is served.
        delivery: the server's settings and the namespace.
        container: what the container that answers is called.

    Raises:
        ReleaseError: the release's model lies where no volume can be mounted.
    """
    identity, serving = target.identity(release, delivery), delivery.serving
    server = server_container(target, serving.port, container)
    return Workload(
        identity=identity,
        pod=server_pod(target, identity, release.model_uri, server),
        files={
            LOCK: release.text(),
            SETTINGS: settings_text(serving, target.limits.cpu),
        },
        service_port=target.service_port,
        start_seconds=target.start_seconds,
        signals=GITUNE,
    )


def settings_text(serving: Serving, cpu: str) -> str:
    """Return the settings as the server reads them in a container that gets *cpu* cores."""
    # A runtime that counts the node's cores instead of the pod's would be throttled.
    threads = serving.threads or max(1, int(amount(cpu)))
    settings = serving.model_copy(update={"host": "0.0.0.0", "threads": threads})
    return json.dumps(settings.dump(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def server_container(target: ClusterDeployment, port: int, name: str) -> Object:
    """Return the container of our own server, which compares the model with the release once more.

    Args:
        target: its image, sizes and API key.
        port: the TCP port that it binds.
        name: its name in the pod.
    """
    found = container(name, target.image, target, gpus=target.gpus)
    found |= server_command("--config", f"{CONFIG_FOLDER}/{SETTINGS}", "--model", MODEL)
    found |= answering(target, port, alive="/health", ready="/ready")
    if target.api_key_secret is not None:
        found["env"].append({"name": API_KEY, "valueFrom": target.api_key_secret.manifest()})
    return found
