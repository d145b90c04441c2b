"""The pods that serve a release, for those who replace, route to, scale and watch them.

It does not know what runs in the pods.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from framework.core.errors import ReleaseError
from framework.core.release import LOCK
from framework.manifests.identity import Identity, Object
from framework.manifests.signals import Signals

_NODE_SECONDS = 600
"""Time for a new node to come up and for the images to be pulled, before a pod's own start counts."""
_ANNOTATION_BYTES = 250_000
"""What an API server takes of annotations, 256 KiB, less some room for others'."""


@dataclass(frozen=True)
class Workload:
    """What a target says of its pods."""

    identity: Identity
    pod: Object
    """The pod's spec; its port that answers requests is named ``http``."""
    files: Mapping[str, str]
    """The files of the ConfigMap of the release's name, which pods read once, when they start; see
    ``own_template`` for pods that carry them."""
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
        return _NODE_SECONDS + self.start_seconds

    def template(self) -> Object:
        """Return the pods' template; it is another one whenever the files change."""
        checksum = hashlib.sha256(json.dumps(dict(self.files), sort_keys=True).encode()).hexdigest()
        annotations = {
            "gitune.dev/config-checksum": f"sha256:{checksum}",
            "gitune.dev/digest": self.identity.annotations["gitune.dev/digest"],
        }
        labels = {**self.identity.labels, **self.labels}
        return {"metadata": {"annotations": annotations, "labels": labels}, "spec": self.pod}

    def own_template(self) -> Object:
        """Return a template that holds the files itself, so that old and new pods can live side by side.

        Files in a ConfigMap change under the pods of the release before, which would then start with the
        new lock: scaled up, moved to another node or rolled back to. So they stand in annotations that
        the pod mounts, and every ReplicaSet keeps its own.

        Raises:
            ReleaseError: the files are larger than annotations may be.
        """
        size = sum(len(text.encode()) for text in self.files.values())
        if size > _ANNOTATION_BYTES:
            raise ReleaseError(
                f"{LOCK}: the server's files are {size:,} bytes, more than a pod's annotations hold "
                f"({_ANNOTATION_BYTES:,}); set rollout=rolling, or make the chat template smaller"
            )
        template = self.template()
        files = {_annotation(name): text for name, text in self.files.items()}
        return {
            "metadata": {
                **template["metadata"],
                "annotations": {**template["metadata"]["annotations"], **files},
            },
            "spec": {**self.pod, "volumes": list(self._own_volumes())},
        }

    def _own_volumes(self) -> Iterator[Object]:
        for volume in self.pod["volumes"]:
            mounted = volume.get("configMap")
            if mounted is None or mounted["name"] != self.identity.name:
                yield volume
                continue
            paths = {item["key"]: item["path"] for item in mounted.get("items", ())}
            items = [
                {
                    "fieldRef": {
                        "apiVersion": "v1",
                        "fieldPath": f"metadata.annotations['{_annotation(name)}']",
                    },
                    "path": paths.get(name, name),
                }
                for name in (paths or sorted(self.files))
            ]
            yield {"downwardAPI": {"items": items}, "name": volume["name"]}


def _annotation(file: str) -> str:
    return f"files.gitune.dev/{file}"
