"""The base of the targets that run our own server: what it needs to call other services.

Which services those are, the serving option says (``Serving.connections``).
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from framework.core.problem import Problem
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.store_hosts import host_problems
from framework.manifests.egress import Egress
from framework.manifests.values import ObjectName, like
from framework.serving.outbound.address import host_and_port, variable_of

HostPort = Annotated[
    str, AfterValidator(like(r"[-a-z0-9*_.]+:[1-9][0-9]{0,4}", "a host and a port such as 'redis.cache:80'"))
]


class OwnServer(ClusterDeployment):
    """Pods of our own server, which can call Redis and the like."""

    server_secret: ObjectName | None = None
    """The Secret whose keys become environment variables of the server, such as ``GITUNE_REDIS_URL`` where
    ``serving.cache.redis`` names it."""
    server_hosts: tuple[HostPort, ...] = ()
    """Where the server connects to, as ``<host>:<port>``, besides the URLs in ``serving``: what the URLs in
    ``server_secret`` say. The network policy allows these ports; with
    ``environment.network_policies=cilium``, at these hosts only."""

    def wanted_secrets(self, delivery: Delivery) -> Mapping[str, str]:
        """Return the type of each Secret that the objects refer to, by its name."""
        own = {} if self.server_secret is None else {self.server_secret: "Opaque"}
        return {**super().wanted_secrets(delivery), **own}

    def calls(self, delivery: Delivery) -> list[Egress]:
        """Return where the server connects to while it serves."""
        known = [host_and_port(address) for address in delivery.serving.connections().values()]
        named = [each.rpartition(":") for each in self.server_hosts]
        targets = [target for target in known if target] + [(host, int(port)) for host, _, port in named]
        return [Egress(port, (host,)) for host, port in dict.fromkeys(targets)]

    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return what keeps the server from calling what its options name; see the base class."""
        problems = super().problems(delivery)
        for field, address in delivery.serving.connections().items():
            if (variable := variable_of(address)) is None:
                continue
            if self.server_secret is None:
                reason = f"{field} is in the environment variable {variable}, which the pods do not have"
                overrides = ("deployment.server_secret=<name>",)
                problems.append(Problem("deployment.server_secret", reason, overrides))
            if not self.server_hosts:
                reason = f"the network policy does not allow what {field} names by {variable}"
                overrides = ("deployment.server_hosts=['<host>:<port>']",)
                problems.append(Problem("deployment.server_hosts", reason, overrides))
        if delivery.environment.network_policies == "cilium":
            for call in self.calls(delivery):
                problems += host_problems(call.hosts, call.hosts[0])
        return problems
