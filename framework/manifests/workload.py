"""The pods that serve a release, as rollouts, traffic, autoscaling and monitoring see them.

It does not know what runs in the pods.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from framework.core.errors import ReleaseError
from framework.core.problem import Problem
from framework.core.release import LOCK
from framework.manifests.identity import APPROVAL, DIGEST, Identity, Object
from framework.manifests.scheduling import GPU
from framework.manifests.server_signals import Signals

_NODE_SECONDS = 600
"""Time for a new node to start and to pull the images, before a pod's own start counts."""
_ANNOTATION_BYTES = 250_000
"""The API server's limit for annotations, 256 KiB, less room for other annotations."""


@dataclass(frozen=True)
class Workload:
    """The pods of a deployment target."""

    identity: Identity
    pod: Object
    """The pod's spec; the port for requests is named ``http``."""
    files: Mapping[str, str]
    """Files of the ConfigMap with the release's name. Pods read them once, at start; see ``own_template`` for
    pods that carry them."""
    service_port: int
    """The port of the Service inside the cluster."""
    start_seconds: int
    """Longest time from a pod's creation until it is ready, including fetching and loading the model."""
    signals: Signals
    """The server's metrics."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Further ports of the pods and of the Service, by name. A port named ``metrics`` is scraped instead of
    ``http``."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Further labels of the pods."""

    @property
    def has_gpus(self) -> bool:
        """Whether the pods request GPUs."""
        return any(GPU in container["resources"]["limits"] for container in self.pod["containers"])

    @property
    def metrics_port(self) -> str:
        """Name of the port that serves ``/metrics``."""
        return "metrics" if "metrics" in self.ports else "http"

    @property
    def progress_seconds(self) -> int:
        """Seconds without progress after which a rollout is reported as failed."""
        return _NODE_SECONDS + self.start_seconds

    @property
    def carries_files(self) -> bool:
        """Whether every template carries the files: a signed lock counts only for pods with its number."""
        return APPROVAL in self.identity.annotations

    def template(self) -> Object:
        """Return the pods' template; a checksum changes it whenever the files change."""
        return self.own_template() if self.carries_files else self._template()

    def _template(self) -> Object:
        checksum = hashlib.sha256(json.dumps(dict(self.files), sort_keys=True).encode()).hexdigest()
        annotations = {
            "gitune.dev/config-checksum": f"sha256:{checksum}",
            **{key: text for key, text in self.identity.annotations.items() if key in (APPROVAL, DIGEST)},
        }
        labels = {**self.identity.labels, **self.labels}
        return {"metadata": {"annotations": annotations, "labels": labels}, "spec": self.pod}

    def own_template(self) -> Object:
        """Return a template that carries the files, so that old and new pods can run side by side.

        A changed ConfigMap would also reach new pods of the previous release, which would then start with the
        new lock: after scaling up, a move to another node or a rollback. So the files are annotations that
        the pod mounts, and each ReplicaSet keeps its own.

        Raises:
            ReleaseError: the files exceed the size limit of annotations.
        """
        size = sum(len(text.encode()) for text in self.files.values())
        if size > _ANNOTATION_BYTES:
            reason = (
                f"the server's files have {size:,} bytes, more than a pod's annotations can hold "
                f"({_ANNOTATION_BYTES:,})"
            )
            advice = "make the chat template smaller"
            raise ReleaseError(problems=[Problem(LOCK, reason, ("rollout=rolling",), advice)])
        template = self._template()
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
