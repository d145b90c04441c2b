"""The pods that serve a release, for those who replace, route to, scale and watch them.

It does not know what runs in the pods.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from framework.manifests.identity import Identity, Object
from framework.manifests.signals import Signals


@dataclass(frozen=True)
class Workload:
    """What a target says of its pods."""

    identity: Identity
    pod: Object
    """The pod's spec; its port that answers requests is named ``http``."""
    files: Mapping[str, str]
    """The files of the ConfigMap of the release's name, which pods read once, when they start."""
    service_port: int
    """The port of the Service inside the cluster."""
    start_seconds: int
    """Longest time from a pod's creation until it is ready: to fetch the model and to load it."""
    signals: Signals
    """What the server says of itself."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Further ports of the pods and of the Service by their names; one named ``metrics`` is scraped in
    place of ``http``."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the pods have besides the identity's."""

    @property
    def metrics_port(self) -> str:
        """The name of the port that answers ``/metrics``."""
        return "metrics" if "metrics" in self.ports else "http"

    @property
    def progress_seconds(self) -> int:
        """Seconds after which a rollout that got no further is reported as failed."""
        return self.start_seconds

    def template(self) -> Object:
        """Return the pods' template; it is another one whenever the files change."""
        checksum = hashlib.sha256(json.dumps(dict(self.files), sort_keys=True).encode()).hexdigest()
        annotations = {
            "gitune.dev/config-checksum": f"sha256:{checksum}",
            "gitune.dev/digest": self.identity.annotations["gitune.dev/digest"],
        }
        labels = {**self.identity.labels, **self.labels}
        return {"metadata": {"annotations": annotations, "labels": labels}, "spec": self.pod}
