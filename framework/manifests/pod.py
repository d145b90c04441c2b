"""One pod that meets the Pod Security level ``restricted``; servers and training jobs both run in it.

It builds specs as plain dicts. It does not know what the containers run.
"""

from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.manifests.identity import Identity, Object
from framework.manifests.scheduling import GPU, Capacity, Toleration, placement
from framework.manifests.values import Amounts, Bytes, Image, LabelKey, LabelValue, ObjectName

USER = 10001
"""User and group ID of every process; the images use the same."""
CONFIG_FOLDER = "/etc/gitune"
"""Mount path of the ConfigMap's files in every container."""
TEMPORARY_FOLDER = "/tmp"
WORKING_FOLDER = "/srv"
"""Working folder of every container; relative paths start here."""


class PodSettings(Component):
    """Image, resources and scheduling of a pod: the fields that all pods share."""

    image: Image
    """The container image; pin it by digest, ``…@sha256:<64 hex digits>``."""
    requests: Amounts
    """CPU and memory that each pod reserves."""
    limits: Amounts
    """The most CPU and memory that each pod can use."""
    temporary_space: Bytes
    """Size limit of ``/tmp``, on disk."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels that a node must have, such as ``nvidia.com/gpu.product: NVIDIA-L4``."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that the pods tolerate. Pods that request GPUs also tolerate the GPU taint."""
    priority_class: ObjectName | None = None
    """The pods' PriorityClass, which decides scheduling and eviction; None uses the cluster's default."""
    capacity: Capacity = Capacity()
    """Whether the pods run on spot or on-demand nodes."""

    @model_validator(mode="after")
    def _requests_below_limits(self) -> Self:
        for key in self.requests.above(self.limits):
            raise PydanticCustomError(
                "crossed_resources",
                "'requests.{key}' ({request}) is above 'limits.{key}' ({limit})",
                {"key": key, "request": getattr(self.requests, key), "limit": getattr(self.limits, key)},
            )
        return self

    def resources(self, gpus: int, disk: str | None = None) -> Object:
        """Return a container's requests and limits.

        Args:
            gpus: NVIDIA GPUs of the container.
            disk: ephemeral storage that it requests; None requests none.
        """
        gpu = {GPU: str(gpus)} if gpus else {}
        ephemeral = {} if disk is None else {"ephemeral-storage": disk}
        return {
            "limits": {**self.limits.model_dump(), **gpu},
            "requests": {**self.requests.model_dump(), **ephemeral, **gpu},
        }


def restricted_pod(
    settings: PodSettings,
    identity: Identity,
    containers: Sequence[Object],
    *,
    service_account: str,
    grace_seconds: int,
    volumes: Iterable[Object],
    spread: bool = True,
) -> Object:
    """Return a pod's spec without a token, without root, with the runtime's default seccomp profile.

    Args:
        settings: where the pod can run.
        identity: its labels select the pod's replicas.
        containers: as ``restricted_container`` builds them.
        service_account: the pod's account.
        grace_seconds: time from SIGTERM to SIGKILL.
        volumes: all that the containers mount.
        spread: whether replicas are spread over zones and nodes.
    """
    return {
        "automountServiceAccountToken": False,
        "containers": list(containers),
        "enableServiceLinks": False,
        "securityContext": {
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsGroup": USER,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": service_account,
        "terminationGracePeriodSeconds": grace_seconds,
        "volumes": list(volumes),
        **placement(
            identity.selector,
            node_selector=settings.node_selector,
            tolerations=settings.tolerations,
            priority_class=settings.priority_class,
            capacity=settings.capacity,
            gpus=any(GPU in container["resources"]["limits"] for container in containers),
            spread=spread,
        ),
    }


def restricted_container(name: str, image: str, resources: Object, mounts: Iterable[Object]) -> Object:
    """Return a container with a read-only root file system and no capabilities.

    Args:
        name: its name in the pod.
        image: its image.
        resources: its requests and limits.
        mounts: its volume mounts.
    """
    return {
        # Libraries cache below HOME, and the image's home folder is read-only.
        "env": [{"name": "HOME", "value": TEMPORARY_FOLDER}],
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "name": name,
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": list(mounts),
    }


def volumes(identity: Identity, settings: PodSettings, data: Object) -> list[Object]:
    """Return the ConfigMap of *identity*'s name, *data* and ``/tmp`` as volumes of a pod."""
    config = {"configMap": {"name": identity.name}, "name": "config"}
    return [config, data, scratch("tmp", settings.temporary_space)]


def mounts(data: Object) -> list[Object]:
    """Return where a container mounts the ConfigMap, *data* and ``/tmp``."""
    return [
        {"mountPath": CONFIG_FOLDER, "name": "config", "readOnly": True},
        data,
        {"mountPath": TEMPORARY_FOLDER, "name": "tmp"},
    ]


def scratch(name: str, size: str, **source: str) -> Object:
    """Return an ``emptyDir`` volume, which is deleted with the pod.

    Args:
        name: its name in the pod.
        size: its size limit.
        source: further keys of the ``emptyDir``, such as ``medium``.
    """
    return {"emptyDir": {**source, "sizeLimit": size}, "name": name}
