"""The base of the traffic options that a gateway brings: where it lies and how long it waits.

What kind of gateway it is, this module does not know.
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
"""The name of the one route, whose weights Argo Rollouts changes."""


def _placed(gateway: str) -> str:
    namespace, slash, name = gateway.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise PydanticCustomError("gateway_place", "should be '<namespace>/<name>' of a Gateway")
    return gateway


class GatewayTraffic(Traffic):
    """Requests come through one Gateway that the platform runs, for ``<release>.<domain>``."""

    splits: ClassVar[bool] = True

    gateway: Annotated[str, AfterValidator(_placed)] = "gateway/public"
    """The Gateway, as ``<namespace>/<name>``; its pods live in that namespace and are let in."""
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 180
    """Longest time that a request may take, every try included; above the longest streamed answer."""
    try_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """Longest time that one try may take."""

    @model_validator(mode="after")
    def _try_within_whole(self) -> "GatewayTraffic":
        if self.try_seconds > self.timeout_seconds:
            raise PydanticCustomError(
                "crossed_timeouts",
                "'try_seconds' ({each}) is above 'timeout_seconds' ({whole})",
                {"each": self.try_seconds, "whole": self.timeout_seconds},
            )
        return self

    @property
    def callers(self) -> tuple[Peer, ...]:
        """The Gateway's namespace."""
        return (Peer(namespaces={"kubernetes.io/metadata.name": self.gateway.partition("/")[0]}),)

    def host(self, identity: Identity, environment: Environment) -> str:
        """Return the name that callers outside use."""
        return f"{identity.name}.{environment.domain}"

    def problems(self, environment: Environment) -> list[Problem]:
        """Return an environment without a domain."""
        if environment.domain is not None:
            return []
        reason = f"the gateway needs the domain of {environment.name}'s releases"
        return [Problem("environment.domain", reason, ("environment.domain=<domain>", "traffic=none"))]
