"""Istio: a VirtualService with retries and weights, and a DestinationRule with outlier detection.

The rules apply at the client side: in the Gateway, and in the sidecars of callers inside the mesh. Serving
pods need no sidecar, and their network policy would block its control plane. Disable injection in the
releases' namespace.
"""

from collections.abc import Sequence
from typing import ClassVar

from framework.delivery.environment import Environment
from framework.delivery.traffic.gateway import ROUTE, GatewayTraffic
from framework.delivery.traffic.resilient import Resilience
from framework.manifests.identity import Identity, Object
from framework.manifests.workload import Workload

_API = "networking.istio.io/v1"


class Istio(Resilience, GatewayTraffic):
    """Retries with exponential backoff, timeouts, a connection pool and outlier detection."""

    mirrors: ClassVar[bool] = True

    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return a VirtualService, and a DestinationRule for each Service."""
        identity = workload.identity
        return [
            self._virtual_service(workload, services, environment),
            *(self._destination_rule(identity, service) for service in services),
        ]

    def routing(self, identity: Identity) -> Object:
        """Return Argo Rollouts' reference to the VirtualService."""
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
                    # Lets a caller record which of two releases answered.
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
