"""Our own server in Kubernetes, on CPU or GPU.

The model arrives by digest: an init container fetches it from the model store and compares it with the
release before the server starts. How the server answers, ``framework.serving`` decides.
"""

import json

from framework.core.release import LOCK, Release
from framework.deployment import Delivery
from framework.deployment.cluster import ClusterDeployment
from framework.deployment.pod import SETTINGS, server_pod
from framework.manifests.signals import GITUNE
from framework.manifests.values import Image, amount
from framework.manifests.workload import Workload


class Kubernetes(ClusterDeployment):
    """Pods of our own server."""

    image: Image = "gitune/server:0.1.0"
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return pods that fetch the model, check it and answer.

        Raises:
            ReleaseError: the release's model lies where no volume can be mounted.
        """
        identity, target, serving = self.identity(release, delivery), self.sized(delivery), delivery.serving
        # A runtime that counts the node's cores instead of the pod's would be throttled.
        threads = serving.threads or max(1, int(amount(target.limits.cpu)))
        settings = serving.model_copy(update={"host": "0.0.0.0", "threads": threads})
        files = {
            LOCK: release.text(),
            SETTINGS: json.dumps(settings.dump(), indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        }
        return Workload(
            identity=identity,
            pod=server_pod(target, identity, release.model_uri, serving.port),
            files=files,
            service_port=self.service_port,
            start_seconds=self.start_seconds,
            signals=GITUNE,
        )
