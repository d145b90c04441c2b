"""A Kubernetes Deployment of our own server, on CPU or GPU.

The model arrives by digest: an init container fetches it from the model store and compares it with the
release before the server starts. How the server answers, ``framework.serving`` decides.
"""

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.release import LOCK, Release
from framework.deployment import Deployment
from framework.deployment.objects import (
    Identity,
    autoscaler,
    config_map,
    deployment,
    disruption_budget,
    network_policy,
    service,
    service_account,
)
from framework.deployment.pod import PROBE_PERIOD, SETTINGS, is_remote, server_pod
from framework.deployment.values import Amounts, Bytes, Image, ObjectName, Peer, Port, amount, is_pinned
from framework.environment import Environment

if TYPE_CHECKING:
    from framework.serving import Serving


def _namespace(name: str) -> Peer:
    return Peer(namespaces={"kubernetes.io/metadata.name": name})


class Kubernetes(Deployment):
    """A Deployment with its Service, autoscaler, disruption budget and network policy."""

    image: Image = "gitune/server:0.1.0"
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""
    image_pull_secret: ObjectName | None = None
    """The Secret that opens a private image registry."""
    requests: Amounts = Amounts(cpu="2", memory="8Gi")
    """What a pod is promised; the default is the small class. The autoscaler's percentage is of this."""
    limits: Amounts = Amounts(cpu="4", memory="16Gi")
    """The most that a pod gets; ``serving.threads: 0`` becomes this number of cores."""
    model_space: Bytes = "10Gi"
    """Disk for the model's copy in the pod; above the size of the published folder."""
    model_volume_claim: ObjectName = "gitune-models"
    """The PersistentVolumeClaim that holds a ``file://`` model store, mounted read-only; unused where
    the store is remote. With several nodes it must allow ReadOnlyMany or ReadWriteMany."""
    store_secret: ObjectName | None = None
    """The Secret whose keys become the init container's environment, to open a remote model store."""
    store_port: Port = 443
    """The TCP port of a remote model store, which the network policy lets through."""
    service_port: Port = 80
    """The port of the Service inside the cluster."""
    ingress_from: tuple[Peer, ...] = (_namespace("gateway"), _namespace("monitoring"))
    """Who may connect; by default what lives in the namespaces ``gateway`` and ``monitoring``."""
    target_cpu_percent: Annotated[int, Field(ge=1, le=100)] = 70
    """Mean CPU use that the autoscaler aims at."""
    startup_seconds: Annotated[int, Field(ge=10, le=3600, multiple_of=PROBE_PERIOD)] = 600
    """Longest time that loading the model may take. Fetching it is given as long again."""
    grace_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    """Longest time that a stopping pod may take to finish its answers."""

    @model_validator(mode="after")
    def _requests_below_limits(self) -> "Kubernetes":
        for key in ("cpu", "memory"):
            asked, most = getattr(self.requests, key), getattr(self.limits, key)
            if amount(asked) > amount(most):
                raise PydanticCustomError(
                    "crossed_resources",
                    "'requests.{key}' ({asked}) is above 'limits.{key}' ({most})",
                    {"key": key, "asked": asked, "most": most},
                )
        return self

    def problems(self, environment: Environment) -> list[str]:
        """Refuse an image that another could be put in place of; only dev usually allows it."""
        if environment.allow_unpinned_image or is_pinned(self.image):
            return []
        return [
            f"deployment.image: '{self.image}' is not pinned by digest, which {environment.name} requires; "
            f"set deployment.image={self.image.partition('@')[0]}@sha256:<its digest>"
        ]

    def objects(self, release: Release, serving: "Serving", environment: Environment) -> list[dict[str, Any]]:
        """Return the seven objects that serve *release*.

        Raises:
            ReleaseError: the release's model lies where no volume can be mounted.
        """
        identity = Identity.of(release, environment)
        # A runtime that counts the node's cores instead of the pod's would be throttled.
        threads = serving.threads or max(1, int(amount(self.limits.cpu)))
        settings = serving.model_copy(update={"host": "0.0.0.0", "threads": threads})
        data = {
            LOCK: release.text(),
            SETTINGS: json.dumps(settings.dump(), indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        }
        pod = server_pod(self, identity, release.model_uri, serving.port)
        outward = self.store_port if is_remote(release.model_uri) else None
        return [
            config_map(identity, data),
            deployment(identity, pod, data, deadline=2 * self.startup_seconds),
            autoscaler(identity, environment, self.target_cpu_percent),
            network_policy(identity, self.ingress_from, outward),
            disruption_budget(identity),
            service(identity, self.service_port),
            service_account(identity, self.image_pull_secret),
        ]
