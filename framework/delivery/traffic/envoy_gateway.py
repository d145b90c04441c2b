"""Envoy Gateway: Gateway API's HTTPRoute, and a BackendTrafficPolicy with what the standard lacks.

The policy is attached to the HTTPRoute, so it also holds for the routes by header that Argo Rollouts' plugin
adds, and for every Service behind them. HTTPRoutes have experimental retries in Gateway API 1.6; they would
take precedence, and are not rendered.
"""

from collections.abc import Sequence

from framework.delivery.environment import Environment
from framework.delivery.traffic.gateway import GatewayTraffic
from framework.delivery.traffic.gateway_api import http_route, plugin_routing
from framework.delivery.traffic.resilient import Resilience
from framework.manifests.identity import Identity, Object
from framework.manifests.workload import Workload

_PARALLEL = 1024
"""Requests and retries that run at the same time, at most: the API server's default."""


class EnvoyGateway(Resilience, GatewayTraffic):
    """An HTTPRoute, with retries and outlier detection by Envoy Gateway's own policy."""

    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return the HTTPRoute and its policy."""
        route = http_route(self, workload, services, environment)
        # The policy has the time of one attempt; beside it, this would be a second word on the same.
        for rule in route["spec"]["rules"]:
            del rule["timeouts"]["backendRequest"]
        return [route, self._policy(workload.identity)]

    def routing(self, identity: Identity) -> Object:
        """Return the plugin's reference to the HTTPRoute."""
        return plugin_routing(identity)

    def _policy(self, identity: Identity) -> Object:
        """Return the policy, with the API server's default values."""
        target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": identity.name}
        spec = {
            "circuitBreaker": {
                "maxConnections": self.max_connections,
                "maxParallelRequests": _PARALLEL,
                "maxParallelRetries": _PARALLEL,
                "maxPendingRequests": self.max_pending,
            },
            "healthCheck": {
                "passive": {
                    "baseEjectionTime": f"{self.eject_seconds}s",
                    "consecutive5XxErrors": self.eject_after,
                    "consecutiveGatewayErrors": 0,
                    "consecutiveLocalOriginFailures": 5,
                    "interval": f"{self.check_seconds}s",
                    "maxEjectionPercent": self.eject_percent,
                    "splitExternalLocalOriginErrors": False,
                }
            },
            "retry": {
                "numRetries": self.retries,
                "perRetry": {
                    "backOff": {"baseInterval": f"{self.backoff_milliseconds}ms"},
                    "timeout": f"{self.try_seconds}s",
                },
                "retryOn": {"triggers": ["connect-failure", "refused-stream", "gateway-error"]},
            },
            "targetRefs": [target],
        }
        return identity.object("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy", spec=spec)
