"""Istio: a VirtualService that retries and shares out, and a DestinationRule that throws bad pods out.

The rules act where requests leave: in the Gateway, and in the sidecars of callers inside the mesh. The
serving pods need no sidecar of their own, and their network policy would keep one from its control plane:
leave injection off in the releases' namespace.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from framework.delivery.environment import Environment
from framework.delivery.traffic.gateway import ROUTE, GatewayTraffic
from framework.manifests.identity import Identity, Object
from framework.manifests.workload import Workload

_API = "networking.istio.io/v1"


class Istio(GatewayTraffic):
    """Retries with exponential back-off, timeouts, a connection pool and outlier detection."""

    mirrors: ClassVar[bool] = True

    retries: Annotated[int, Field(ge=0, le=10)] = 3
    """Further tries of a request that failed before an answer began."""
    backoff_milliseconds: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Wait before the first further try. Each next wait may be twice as long, up to ten times this one, and
    is drawn at random below that, so that callers do not come back all at once."""
    eject_after: Annotated[int, Field(ge=1, le=100)] = 5
    """Errors (5xx, or no connection) in a row after which a pod gets no more requests."""
    eject_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """How long it gets none, multiplied by how often it has been thrown out."""
    eject_percent: Annotated[int, Field(ge=1, le=100)] = 50
    """Most of a Service's pods that may be thrown out at once: with 50 one of two, and never a lone one."""
    check_seconds: Annotated[int, Field(ge=1, le=300)] = 10
    """How often it is looked at which pods may come back."""
    max_connections: Annotated[int, Field(ge=1)] = 1024
    """Most connections to a Service from one proxy."""
    max_pending: Annotated[int, Field(ge=1)] = 1024
    """Most requests that wait for a connection; more are refused at once with 503."""

    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return one VirtualService, and a DestinationRule for every Service."""
        identity = workload.identity
        return [
            self._virtual_service(workload, services, environment),
            *(self._destination_rule(identity, service) for service in services),
        ]

    def routing(self, identity: Identity) -> Object:
        """Return Rollouts' words for the VirtualService."""
        return {"istio": {"virtualService": {"name": identity.name, "routes": [ROUTE]}}}

    def _virtual_service(
        self, workload: Workload, services: Sequence[str], environment: Environment
    ) -> Object:
        identity = workload.identity
        route = {
            "name": ROUTE,
            "retries": {
                "attempts": self.retries,
                "backoff": f"{self.backoff_milliseconds}ms",
                "perTryTimeout": f"{self.try_seconds}s",
                "retryOn": "connect-failure,refused-stream,reset-before-request,gateway-error",
            },
            "route": [
                {
                    "destination": {
                        "host": _host(identity, service),
                        "port": {"number": workload.service_port},
                    },
                    # So a caller can record which of two releases answered.
                    "headers": {"response": {"set": {"x-gitune-service": service}}},
                    "weight": 100 if service == services[0] else 0,
                }
                for service in services
            ],
            "timeout": f"{self.timeout_seconds}s",
        }
        spec = {
            "gateways": [self.gateway, "mesh"],
            "hosts": [self.host(identity, environment), _host(identity, services[0])],
            "http": [route],
        }
        return identity.object(_API, "VirtualService", spec=spec)

    def _destination_rule(self, identity: Identity, service: str) -> Object:
        policy = {
            "connectionPool": {
                "http": {"http1MaxPendingRequests": self.max_pending},
                "tcp": {"connectTimeout": "5s", "maxConnections": self.max_connections},
            },
            "loadBalancer": {"simple": "LEAST_REQUEST"},
            "outlierDetection": {
                "baseEjectionTime": f"{self.eject_seconds}s",
                "consecutive5xxErrors": self.eject_after,
                "interval": f"{self.check_seconds}s",
                "maxEjectionPercent": self.eject_percent,
            },
        }
        spec = {"host": _host(identity, service), "trafficPolicy": policy}
        return identity.object(_API, "DestinationRule", name=service, spec=spec)


def _host(identity: Identity, service: str) -> str:
    return f"{service}.{identity.namespace}.svc.cluster.local"
