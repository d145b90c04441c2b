"""What the targets that run our own server have in common: what it needs to call other services.

Which services those are, the serving option says (``Serving.connections``).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.job_workers import worker_identity, worker_objects
from framework.delivery.deployment.store_hosts import host_problems, store_hosts
from framework.manifests.egress import Egress
from framework.manifests.identity import Identity, Object
from framework.manifests.values import ObjectName, Peer, SecretKey, like
from framework.manifests.workload import Workload
from framework.serving import Serving
from framework.serving.outbound.address import host_and_port

SETTINGS = "serving.json"
"""The file with the server's settings, among those of its pods."""
HostPort = Annotated[
    str, AfterValidator(like(r"[-a-z0-9*_.]+:[1-9][0-9]{0,4}", "a host and a port such as 'redis.cache:80'"))
]


KEYS_FOLDER = "/etc/gitune-keys"
"""Mount path of the Secret with the hashes of API keys."""
KEYS_FILE = "keys.yaml"
"""The file in it; a path of its own, since a file that is mounted alone never changes."""


if TYPE_CHECKING:
    _Target = ClusterDeployment
else:  # a part of targets, not a target: what it calls on ``super()`` is the target's base
    _Target = Component


class OwnServer(_Target):
    """Pods of our own server, which can call Redis and the like."""

    keys_override: ClassVar[str] = "deployment.keys_secret={name:<name>,key:<key>}"

    keys_secret: SecretKey | None = None
    """The Secret, and its key, with the file of ``serving.keys``: hashes of API keys, their limits and
    priorities. It is mounted read-only, and the server follows its changes. Set its ``key``, such as
    ``keys.yaml``."""
    server_secret: ObjectName | None = None
    """The Secret whose keys become environment variables of the server, such as ``GITUNE_REDIS_URL`` where
    ``serving.cache.redis`` names it."""
    log_secret: ObjectName | None = None
    """The Secret with the credentials of the store that ``serving.request_log.folder`` or
    ``serving.drift.reference`` names by a URL; its keys become environment variables of the server. None uses
    ``environment.workload_identity``, or those of ``server_secret``."""
    server_hosts: tuple[HostPort, ...] = ()
    """Where the server connects to, as ``<host>:<port>``, besides the URLs in ``serving``: what the URLs in
    ``server_secret`` say. The network policy allows these ports; with
    ``environment.network_policies=cilium``, at these hosts only."""

    job_workers: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods that run background jobs, where ``serving.jobs.broker`` is set."""

    @property
    def keys_file(self) -> str | None:
        """The path of the file of API keys in the server's container."""
        return None if self.keys_secret is None else f"{KEYS_FOLDER}/{KEYS_FILE}"

    @property
    def has_keys(self) -> bool:
        """Whether the server gets a file of API keys."""
        return self.keys_secret is not None

    def environment_secrets(self, serving: Serving) -> list[str]:
        """Return the Secrets whose keys become environment variables of the server."""
        log = self.log_secret if serving.stores() else None
        return [name for name in dict.fromkeys((self.server_secret, log)) if name is not None]

    def wanted_secrets(self, delivery: Delivery) -> Mapping[str, str]:
        """Return the type of each Secret that the objects refer to, by its name."""
        keys = None if self.keys_secret is None else self.keys_secret.name
        own = [*self.environment_secrets(delivery.serving), *([] if keys is None else [keys])]
        return {**super().wanted_secrets(delivery), **dict.fromkeys(own, "Opaque")}

    def calls(self, delivery: Delivery) -> list[Egress]:
        """Return where the server connects to while it serves."""
        known = [host_and_port(address) for address in delivery.serving.connections().values()]
        named = [each.rpartition(":") for each in self.server_hosts]
        targets = [target for target in known if target] + [(host, int(port)) for host, _, port in named]
        urls = delivery.serving.stores()
        stores = [Egress(self.store_port, self.store_hosts or store_hosts(url)) for url in urls]
        identity = delivery.environment.workload_identity.egress() if stores else []
        return [*(Egress(port, (host,)) for host, port in dict.fromkeys(targets)), *stores, *identity]

    def own_callers(self, identity: Identity, delivery: Delivery) -> list[Peer]:
        """Return the pods that run background jobs; see the base class."""
        return [Peer(pods=dict(worker_identity(identity).selector))] if delivery.serving.worker() else []

    def companions(self, workload: Workload, services: Sequence[str], delivery: Delivery) -> list[Object]:
        """Return the pods that run background jobs; see the base class."""
        if not (command := delivery.serving.worker()):
            return []
        return worker_objects(
            workload,
            self,
            command,
            self.job_workers,
            url=f"http://{services[0]}.{workload.identity.namespace}.svc:{workload.service_port}",
            port=delivery.serving.port,
            settings_file=SETTINGS,
            secret=self.server_secret,
            egress=self.calls(delivery),
            by_name=delivery.environment.network_policies == "cilium",
        )

    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return what keeps the server from calling what its options name; see the base class."""
        problems = super().problems(delivery) + delivery.serving.pod_problems()
        if delivery.environment.signers and delivery.serving.worker():
            reason = "the admission policies of an environment with signers refuse workers of background jobs"
            advice = ("serving.jobs.broker=''", "environment.signers={}")
            problems.append(Problem("serving.jobs.broker", reason, advice))
        variables = delivery.serving.variables()
        if variables and self.server_secret is None:
            listed = ", ".join(f"{variable} ({field})" for field, variable in variables.items())
            reason = f"the pods do not have the environment variables {listed}"
            overrides = ("deployment.server_secret=<name>",)
            problems.append(Problem("deployment.server_secret", reason, overrides))
        unknown = [field for field in delivery.serving.connections() if field in variables]
        if unknown and not self.server_hosts:
            reason = f"the network policy does not allow what {' and '.join(unknown)} name by a variable"
            overrides = ("deployment.server_hosts=['<host>:<port>']",)
            problems.append(Problem("deployment.server_hosts", reason, overrides))
        if delivery.environment.network_policies == "cilium":
            for url in delivery.serving.stores():
                if not (self.store_hosts or store_hosts(url)):
                    problems += host_problems((), url)
            for call in self.calls(delivery):
                if call.hosts:
                    problems += host_problems(call.hosts, call.hosts[0])
        return problems
