"""The base of the deployment targets that run as pods in a Kubernetes cluster.

A target supplies its pods. This module adds what every release needs around them: identity, access,
disruption budget, and the objects of rollout, autoscaling, traffic, monitoring and secrets.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

from framework.core.errors import ReleaseError
from framework.core.problem import Problem
from framework.core.release import Release
from framework.delivery.deployment import Delivery, Deployment
from framework.delivery.deployment.approved_pod import with_approval_check
from framework.delivery.deployment.model_size import in_words, model_bytes, seconds_for, space_for
from framework.delivery.deployment.server_pod import PROBE_PERIOD, ServerSettings, is_remote
from framework.delivery.deployment.store_hosts import host_problems, store_hosts
from framework.delivery.rollout import Rollout
from framework.delivery.rollout.rolling import Rolling
from framework.manifests.egress import Egress, cilium_policy, dns_egress
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import (
    config_map,
    disruption_budget,
    network_policy,
    service_account,
)
from framework.manifests.values import HostPattern, ObjectName, Peer, Port, amount
from framework.manifests.workload import Workload


def _namespace(name: str) -> Peer:
    return Peer(namespaces={"kubernetes.io/metadata.name": name})


def _file(item: Object) -> str:
    return f"{item['kind'].lower()}-{item['metadata']['name']}.yaml"


class ClusterDeployment(Deployment, ServerSettings):
    """Pods in a cluster, with the objects that a platform requires of every workload."""

    image_pull_secret: ObjectName | None = None
    """The Secret with the credentials of a private image registry."""
    store_port: Port = 443
    """The TCP port of a remote model store, which the network policy allows."""
    store_hosts: tuple[HostPattern, ...] = ()
    """The hosts of a remote model store, for ``environment.network_policies=cilium``; ``*`` stands for any
    characters except dots. Empty takes those of the store's URL: its own host, or AWS's and Google's."""
    service_port: Port = 80
    """The port of the Service inside the cluster."""
    ingress_from: tuple[Peer, ...] = (_namespace("gateway"), _namespace("monitoring"))
    """Pods that can connect; by default all pods in the namespaces ``gateway`` and ``monitoring``."""

    @property
    def images(self) -> Mapping[str, str]:
        """Images that run or are mounted, by field name."""
        images = {"image": self.image, "fetch_image": self.fetch_image, "model_image": self.model_image}
        return {field: image for field, image in images.items() if image is not None}

    @abstractmethod
    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return the pods that serve *release*.

        Raises:
            ReleaseError: this target cannot serve the release.
        """

    def wanted_secrets(self, delivery: Delivery) -> Mapping[str, str]:
        """Return the type of each Secret that the objects refer to, by its name."""
        api_key = self.api_key_secret.name if self.api_key_secret is not None else None
        opaque = (self.store_secret, api_key, *delivery.monitoring.secret_names)
        types = {name: "Opaque" for name in opaque if name is not None}
        if self.image_pull_secret is not None:
            types[self.image_pull_secret] = "kubernetes.io/dockerconfigjson"
        return types

    def files(self, release: Release, delivery: Delivery) -> Mapping[str, Object | str]:
        """Return one object per file, ``<kind>-<name>.yaml``."""
        files: dict[str, Object | str] = {}
        for item in self.objects(release, delivery):
            if (name := _file(item)) in files:
                raise ValueError(f"{type(self).__name__} renders two objects to {name}")
            files[name] = item
        return files

    def shared_files(self, release: Release, delivery: Delivery) -> Mapping[str, Object]:
        """Return the objects of the Secrets: two releases that each own one would exclude each other."""
        if not delivery.secrets.shared:
            return {}
        identity = Identity.shared(delivery.environment.namespace)
        objects = delivery.secrets.objects(identity, self.wanted_secrets(delivery))
        return {_file(item): item for item in objects}

    def objects(self, release: Release, delivery: Delivery) -> list[Object]:
        """Return all objects that serve *release* alone.

        Raises:
            ReleaseError: this target cannot serve the release.
        """
        self.refuse(release)
        size = model_bytes(release)
        problems = [] if size is None else self.size_problems(size, delivery)
        if problems := problems + self.store_problems(release.model_uri, delivery):
            raise ReleaseError(problems=problems)
        workload, account = self.workload(release, delivery), delivery.environment.workload_identity
        workload = replace(workload, labels={**workload.labels, **account.pod_labels})
        identity, environment, secrets = workload.identity, delivery.environment, delivery.secrets
        if environment.signers:
            workload = replace(workload, pod=with_approval_check(workload.pod, environment.name))
        serving, services = self.serving_objects(workload, delivery)
        egress = [*self._egress(release.model_uri, delivery), *self.calls(delivery)]
        named = bool(egress) and environment.network_policies == "cilium"
        rules = {str(rule := each.rule()): rule for each in egress}.values()
        rollout = self.rollout(delivery)
        callers = list(self.ingress_from)
        own = self.own_callers(identity, delivery)
        for peer in (*delivery.traffic.callers, *rollout.callers, *delivery.monitoring.callers, *own):
            callers += [] if peer in callers else [peer]
        return [
            *(
                []
                if rollout.carries_files or workload.carries_files
                else [config_map(identity, workload.files)]
            ),
            service_account(identity, self.image_pull_secret, account.annotations),
            network_policy(workload, callers, [] if named else [dns_egress(), *rules]),
            *([cilium_policy(workload, egress)] if named else []),
            disruption_budget(identity),
            *serving,
            *delivery.traffic.objects(workload, services, environment),
            *delivery.monitoring.objects(workload, environment),
            *([] if secrets.shared else secrets.objects(identity, self.wanted_secrets(delivery))),
            *self.companions(workload, services, delivery),
        ]

    def _egress(self, url: str, delivery: Delivery) -> list[Egress]:
        """Return where the pods fetch the model at *url* from; empty where it is mounted."""
        if self.model_image is not None or not is_remote(url):
            return []
        store = Egress(self.store_port, self.store_hosts or store_hosts(url))
        return [store, *delivery.environment.workload_identity.egress()]

    def calls(self, delivery: Delivery) -> list[Egress]:
        """Return where the pods connect to while they serve."""
        return []

    def own_callers(self, identity: Identity, delivery: Delivery) -> list[Peer]:
        """Return this target's own pods that connect to the server's."""
        return []

    def companions(self, workload: Workload, services: Sequence[str], delivery: Delivery) -> list[Object]:
        """Return the objects of pods that run beside the server's.

        Args:
            workload: the server's pods.
            services: the Services that receive their requests.
            delivery: all options.
        """
        return []

    def store_problems(self, url: str, delivery: Delivery) -> list[Problem]:
        """Return why the network policies would keep pods from fetching the model at *url*."""
        if delivery.environment.network_policies != "cilium" or not (egress := self._egress(url, delivery)):
            return []
        return host_problems(egress[0].hosts, url)

    def serving_objects(self, workload: Workload, delivery: Delivery) -> tuple[list[Object], tuple[str, ...]]:
        """Return the objects that run and scale *workload*, and the Services that can receive requests."""
        identity, environment, rollout = workload.identity, delivery.environment, self.rollout(delivery)
        target = rollout.scaled(identity)
        objects = [
            *rollout.objects(workload, delivery.traffic, delivery.monitoring),
            *delivery.autoscaling.objects(workload, target, environment, delivery.monitoring),
        ]
        return objects, rollout.services(identity)

    def rollout(self, delivery: Delivery) -> Rollout:
        """Return the chosen rollout, or a rolling update in an environment without traffic to judge by."""
        return delivery.rollout if delivery.environment.progressive else Rolling()

    def rollback_seconds(self, delivery: Delivery) -> int:
        """Return the longest time until the previous release answers; see the base class."""
        return self.rollout(delivery).rollback_seconds(self.start_seconds)

    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return the delivery options that do not work together, and unpinned images."""
        environment, monitoring = delivery.environment, delivery.monitoring
        parts = (delivery.traffic, delivery.autoscaling, monitoring, environment)
        problems = [
            *delivery.traffic.problems(environment),
            *monitoring.problems(),
            *delivery.autoscaling.problems(monitoring, environment, self.gpus),
            *self.rollout(delivery).problems(*parts, self.start_seconds),
            *delivery.secrets.problems(self.wanted_secrets(delivery), environment),
        ]
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
        return [
            *problems,
            *self._open_host(delivery),
            *self.unpinned(environment),
            *self.foreign_images(environment),
        ]

    def _open_host(self, delivery: Delivery) -> list[Problem]:
        """Return a public host that answers everybody."""
        environment = delivery.environment
        if not delivery.traffic.routes or not environment.require_api_key or self.api_key_secret is not None:
            return []
        if self.has_keys:
            return []
        reason = f"the host is public, and {environment.name} requires an API key"
        key = ("deployment.api_key_secret={name:<name>}",) if self.has_api_keys else ()
        overrides = (*key, "traffic=none", "environment.require_api_key=false")
        return [Problem("deployment.api_key_secret", reason, overrides)]

    def size_problems(self, size: float, delivery: Delivery) -> list[Problem]:
        """Return what the pod has too little of for *size* bytes of weights: disk, memory, time to load."""
        problems: list[Problem] = []
        words, space = in_words(size), self.model_space
        if space is not None and size > amount(space):
            overrides = (f"deployment.model_space={space_for(size)}", "deployment.model_space=null")
            reason = f"the weights have {words}, more than the volume's {space}"
            problems.append(Problem("deployment.model_space", reason, overrides))
        memory = self.sized(delivery).limits.memory
        if not self.gpus and size > amount(memory):
            group = "deployment" if delivery.environment.limits is None else "environment"
            reason = f"the weights have {words}, more than the pod's {memory} of memory"
            key = f"{group}.limits.memory"
            problems.append(Problem(key, reason, (f"{key}={space_for(size)}",)))
        seconds = seconds_for(size, self.load_mib_per_second * 2**20, PROBE_PERIOD)
        if seconds > self.startup_seconds:
            key = "deployment.startup_seconds"
            reason = (
                f"at {self.load_mib_per_second} MiB per second, {words} of weights take {seconds} s to load, "
                f"above {self.startup_seconds} s"
            )
            advice = "set deployment.load_mib_per_second to a measured rate"
            problems.append(Problem(key, reason, (f"{key}={seconds}",), advice))
        return problems

    def sized(self, delivery: Delivery, release: Release | None = None) -> Self:
        """Return this target with the environment's resources where it sets any, and room for *release*."""
        environment = delivery.environment
        sizes: dict[str, object] = {"requests": environment.requests, "limits": environment.limits}
        size = None if release is None else model_bytes(release)
        if size is not None and self.model_space is None:
            sizes["model_space"] = space_for(size)
        return self.model_copy(update={key: size for key, size in sizes.items() if size is not None})

    def identity(self, release: Release, delivery: Delivery) -> Identity:
        """Return the name, labels and annotations of the objects."""
        return Identity.of(release, delivery.environment.namespace)
