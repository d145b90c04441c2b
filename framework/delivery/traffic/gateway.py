"""The base class of the traffic options with a gateway: its name and timeouts.

It does not know the gateway's implementation.
"""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity
from framework.manifests.values import Peer

ROUTE = "release"
"""Name of the route whose weights Argo Rollouts changes."""


def _namespaced(gateway: str) -> str:
    namespace, slash, name = gateway.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise PydanticCustomError("gateway_place", "should be '<namespace>/<name>' of a Gateway")
    return gateway


class GatewayTraffic(Traffic):
    """Requests to ``<release>.<domain>`` arrive through one Gateway that the platform runs."""

    splits: ClassVar[bool] = True

    gateway: Annotated[str, AfterValidator(_namespaced)] = "gateway/public"
    """The Gateway, as ``<namespace>/<name>``; the network policy lets in all pods of that namespace."""
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 180
    """Longest time for a request, including retries; set it above the longest streamed answer."""
    try_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """Longest time for one attempt."""

    @model_validator(mode="after")
    def _attempt_within_request(self) -> "GatewayTraffic":
        if self.try_seconds > self.timeout_seconds:
            raise PydanticCustomError(
                "crossed_timeouts",
                "'try_seconds' ({attempt}) is above 'timeout_seconds' ({request})",
                {"attempt": self.try_seconds, "request": self.timeout_seconds},
            )
        return self

    @property
    def callers(self) -> tuple[Peer, ...]:
        """All pods in the Gateway's namespace."""
        return (Peer(namespaces={"kubernetes.io/metadata.name": self.gateway.partition("/")[0]}),)

    def host(self, identity: Identity, environment: Environment) -> str:
        """Return the release's public host name."""
        return f"{identity.name}.{environment.domain}"

    def problems(self, environment: Environment) -> list[Problem]:
        """Return an environment without a domain."""
        if environment.domain is not None:
            return []
        reason = f"the gateway needs the domain of {environment.name}'s releases"
        return [Problem("environment.domain", reason, ("environment.domain=<domain>", "traffic=none"))]
