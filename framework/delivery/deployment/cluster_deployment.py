"""The base of the targets that are pods of a Kubernetes cluster.

A target says what runs in its pods; what stands around every pod, whoever wrote it, is joined here:
identity, access, disruption, and what the rollout, the autoscaler, the traffic, the monitoring and the
secrets bring.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.problem import Problem
from framework.core.release import Release
from framework.delivery.deployment import Delivery, Deployment
from framework.delivery.deployment.server_pod import PROBE_PERIOD, is_remote
from framework.delivery.rollout import Rollout
from framework.delivery.rollout.rolling import Rolling
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import config_map, disruption_budget, network_policy, service_account
from framework.manifests.scheduling import Capacity, Toleration
from framework.manifests.values import (
    Amounts,
    Bytes,
    Image,
    LabelKey,
    LabelValue,
    ObjectName,
    Peer,
    Port,
    SecretKey,
)
from framework.manifests.workload import Workload


def _namespace(name: str) -> Peer:
    return Peer(namespaces={"kubernetes.io/metadata.name": name})


class ClusterDeployment(Deployment):
    """Pods with all that a platform asks of every workload."""

    image: Image
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""
    fetch_image: Image | None = None
    """Our own server's image, which fetches the model and checks it before the server starts; None where
    ``image`` is that."""
    image_pull_secret: ObjectName | None = None
    """The Secret that opens a private image registry."""
    requests: Amounts = Amounts(cpu="2", memory="8Gi")
    """What a pod is promised; the default is the small class. An autoscaler's percentage is of this."""
    limits: Amounts = Amounts(cpu="4", memory="16Gi")
    """The most that a pod gets; ``serving.threads: 0`` becomes this number of cores."""
    model_space: Bytes = "10Gi"
    """Disk for the model's copy in the pod; above the size of the published folder."""
    temporary_space: Bytes = "1Gi"
    """Disk for ``/tmp`` in the pod, where libraries keep what they compile."""
    model_image: Image | None = None
    """An OCI image that holds the published folder's files at its root, ``…@sha256:<64 hex digits>``; it is
    mounted as a volume (Kubernetes 1.35 and later) in place of a copy from the store, and still compared
    with the release's digest before the server starts. None fetches from the store."""
    model_volume_claim: ObjectName = "gitune-models"
    """The PersistentVolumeClaim that holds a ``file://`` model store, mounted read-only; unused where
    the store is remote. With several nodes it must allow ReadOnlyMany or ReadWriteMany."""
    store_secret: ObjectName | None = None
    """The Secret whose keys become the init container's environment, to open a remote model store."""
    store_port: Port = 443
    """The TCP port of a remote model store, which the network policy lets through."""
    api_key_secret: SecretKey | None = None
    """The Secret, and the key in it, with the API key that every request but probes and metrics must
    bring as ``Authorization: Bearer``; the key itself stands nowhere in Git. None asks for none."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels that a node must have, such as ``nvidia.com/gpu.product: NVIDIA-L4``."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that do not keep the pods off a node; that of GPU nodes is tolerated where ``gpus`` are."""
    priority_class: ObjectName | None = None
    """The PriorityClass: what is evicted last and scheduled first; None takes the cluster's default."""
    capacity: Capacity = Capacity()
    """Whether nodes that the cloud may take back serve."""
    service_port: Port = 80
    """The port of the Service inside the cluster."""
    ingress_from: tuple[Peer, ...] = (_namespace("gateway"), _namespace("monitoring"))
    """Who may connect; by default what lives in the namespaces ``gateway`` and ``monitoring``."""
    startup_seconds: Annotated[int, Field(ge=10, le=3600, multiple_of=PROBE_PERIOD)] = 50
    """Longest time that loading the model may take. Fetching it is given as long again. Both, with the time
    until Argo CD sees a commit, make up a rollback, which is to take five minutes at most."""
    grace_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    """Longest time that a stopping pod may take to finish its answers."""

    @model_validator(mode="after")
    def _requests_below_limits(self) -> "ClusterDeployment":
        for crossed in self.requests.above(self.limits):
            raise PydanticCustomError(
                "crossed_resources",
                "'requests.{key}' ({asked}) is above 'limits.{key}' ({most})",
                {
                    "key": crossed,
                    "asked": getattr(self.requests, crossed),
                    "most": getattr(self.limits, crossed),
                },
            )
        return self

    @abstractmethod
    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return the pods that serve *release*.

        Raises:
            ReleaseError: the release cannot be served by this target.
        """

    def wanted_secrets(self, delivery: Delivery) -> Mapping[str, str]:
        """Return the Secrets that the objects refer to, by name, each with its type."""
        api_key = self.api_key_secret.name if self.api_key_secret is not None else None
        named = (self.store_secret, api_key, *delivery.monitoring.secret_names)
        wanted = {name: "Opaque" for name in named if name is not None}
        if self.image_pull_secret is not None:
            wanted[self.image_pull_secret] = "kubernetes.io/dockerconfigjson"
        return wanted

    @property
    def fetcher(self) -> str:
        """The image that fetches the model and checks it."""
        return self.fetch_image or self.image

    @property
    def images(self) -> Mapping[str, str]:
        """The images that run or are mounted, by the field that names each."""
        named = {"image": self.image, "fetch_image": self.fetch_image, "model_image": self.model_image}
        return {field: image for field, image in named.items() if image is not None}

    @property
    def start_seconds(self) -> int:
        """Longest time from a pod's creation until it is ready."""
        return 2 * self.startup_seconds

    def files(self, release: Release, delivery: Delivery) -> Mapping[str, Object | str]:
        """Return one object a file, ``<kind>-<name>.yaml``."""
        found: dict[str, Object | str] = {}
        for item in self.objects(release, delivery):
            name = f"{item['kind'].lower()}-{item['metadata']['name']}.yaml"
            if name in found:
                raise ValueError(f"{type(self).__name__} renders two objects to {name}")
            found[name] = item
        return found

    def objects(self, release: Release, delivery: Delivery) -> list[Object]:
        """Return every object that serves *release*.

        Raises:
            ReleaseError: the release cannot be served by this target.
        """
        self.refuse(release)
        workload = self.workload(release, delivery)
        identity, environment = workload.identity, delivery.environment
        serving, services = self.serving_objects(workload, delivery)
        fetched = self.model_image is None and is_remote(release.model_uri)
        outward = self.store_port if fetched else None
        rollout = self.rollout(delivery)
        callers = list(self.ingress_from)
        for peer in (*delivery.traffic.callers, *rollout.callers, *delivery.monitoring.callers):
            callers += [] if peer in callers else [peer]
        return [
            *([] if rollout.carries_files else [config_map(identity, workload.files)]),
            service_account(identity, self.image_pull_secret),
            network_policy(workload, callers, outward),
            disruption_budget(identity),
            *serving,
            *delivery.traffic.objects(workload, services, environment),
            *delivery.monitoring.objects(workload, environment),
            *delivery.secrets.objects(identity, self.wanted_secrets(delivery)),
        ]

    def serving_objects(self, workload: Workload, delivery: Delivery) -> tuple[list[Object], tuple[str, ...]]:
        """Return what runs and scales *workload*, and the Services that requests may be sent to."""
        identity, environment, rollout = workload.identity, delivery.environment, self.rollout(delivery)
        replicas = delivery.autoscaling.replicas(environment)
        target = rollout.scaled(identity)
        objects = [
            *rollout.objects(workload, replicas, delivery.traffic, delivery.monitoring),
            *delivery.autoscaling.objects(workload, target, environment, delivery.monitoring),
        ]
        return objects, rollout.services(identity)

    def rollout(self, delivery: Delivery) -> Rollout:
        """Return the chosen rollout, or a plain one in an environment that has no traffic to judge by."""
        return delivery.rollout if delivery.environment.progressive else Rolling()

    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return the delivery options that do not work together, and unpinned images."""
        environment, monitoring = delivery.environment, delivery.monitoring
        parts = (delivery.traffic, delivery.autoscaling, monitoring, environment)
        problems = [
            *delivery.traffic.problems(environment),
            *monitoring.problems(),
            *delivery.autoscaling.problems(monitoring),
            *self.rollout(delivery).problems(*parts, self.start_seconds),
            *delivery.secrets.problems(self.wanted_secrets(delivery), environment),
        ]
        count = delivery.autoscaling.replicas(environment)
        least, most = environment.min_replicas, environment.max_replicas
        if count is not None and not least <= count <= most:
            reason = f"{count} pods are outside {environment.name}'s range of {least} to {most}"
            problems.append(Problem("autoscaling.count", reason, (f"autoscaling.count={least}",)))
        sized = self.sized(delivery)
        problems += [
            Problem(
                "environment.limits",
                f"a pod requests {getattr(sized.requests, key)} {key}, above its limit of "
                f"{getattr(sized.limits, key)}",
                advice="set both environment.requests and environment.limits",
            )
            for key in sized.requests.above(sized.limits)
        ]
        return [*problems, *self.unpinned(environment)]

    def sized(self, delivery: Delivery) -> Self:
        """Return this target with the environment's own sizes, where it has any."""
        environment = delivery.environment
        sizes = {"requests": environment.requests, "limits": environment.limits}
        return self.model_copy(update={key: size for key, size in sizes.items() if size is not None})

    def identity(self, release: Release, delivery: Delivery) -> Identity:
        """Return whose the objects are."""
        return Identity.of(release, delivery.environment.namespace)
