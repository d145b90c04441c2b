"""Where pods can connect to, as rules of Kubernetes' NetworkPolicy and of Cilium's.

Kubernetes' policies know addresses and no names, so a named host means any address there. Cilium learns a
name's addresses from the DNS answers that its proxy passes on. Neither knows the phases of a pod: its init
container and its server share one network.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from framework.manifests.identity import Object
from framework.manifests.workload import Workload


@dataclass(frozen=True)
class Egress:
    """A TCP port that pods can connect to."""

    port: int
    hosts: tuple[str, ...] = ()
    """Names or addresses; ``*`` in a name stands for any characters except dots."""
    cidr: str | None = None
    """The block of addresses, where they are not named."""

    def rule(self) -> Object:
        """Return the rule of a NetworkPolicy: at any address, or at those of ``cidr``."""
        rule: Object = {"ports": [{"port": self.port, "protocol": "TCP"}]}
        return rule if self.cidr is None else {**rule, "to": [{"ipBlock": {"cidr": self.cidr}}]}

    def named_rules(self) -> Iterator[Object]:
        """Yield the rules of a CiliumNetworkPolicy, one for names and one for addresses."""
        ports = [{"ports": [{"port": str(self.port), "protocol": "TCP"}]}]
        blocks = [block for host in self.hosts if (block := _block(host))] + [self.cidr] * bool(self.cidr)
        if names := [host for host in self.hosts if _block(host) is None]:
            keys = ("matchPattern" if "*" in name else "matchName" for name in names)
            yield {
                "toFQDNs": [{key: name} for key, name in zip(keys, names, strict=True)],
                "toPorts": ports,
            }
        if blocks:
            yield {"toCIDR": blocks, "toPorts": ports}


def dns_egress() -> Object:
    """Return the NetworkPolicy rule for cluster DNS and for the address of a node-local DNS cache."""
    dns = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ]
    return {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}], "to": dns}


def cilium_policy(workload: Workload, egress: Sequence[Egress]) -> Object:
    """Return the CiliumNetworkPolicy that opens *egress* by name, and DNS through Cilium's proxy.

    Every name can be looked up: a resolver tries the cluster's search domains first, and a refused lookup
    would end it. The pods' NetworkPolicy must not open DNS itself, because Cilium then leaves out the proxy.
    """
    dns = {
        "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system"}}],
        "toPorts": [
            {"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*"}]}}
        ],
    }
    spec = {
        "egress": [dns, *(rule for each in egress for rule in each.named_rules())],
        "endpointSelector": {"matchLabels": dict(workload.identity.selector)},
    }
    return workload.identity.object("cilium.io/v2", "CiliumNetworkPolicy", spec=spec)


def _block(host: str) -> str | None:
    """Return the block of one address; None for a name.

    >>> _block("10.0.0.5"), _block("models.example.com")
    ('10.0.0.5/32', None)
    """
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return f"{address}/{address.max_prefixlen}"
