"""Kubernetes' Gateway API: one HTTPRoute, for any implementation of the Gateway.

The standard (v1, channel ``standard`` of Gateway API 1.6) has weights, header matches and timeouts. It lacks
outlier detection and connection pools, and its retries are experimental, so none of them is rendered here.
Use ``traffic=istio`` or ``traffic=envoy-gateway`` for them.

Argo Rollouts changes the weights through its plugin ``argoproj-labs/gatewayAPI``. The plugin silently ignores
the mirror step (its issue 32), so nothing is mirrored although the standard supports it.
"""

from collections.abc import Sequence

from framework.delivery.environment import Environment
from framework.delivery.traffic.gateway import ROUTE, GatewayTraffic
from framework.manifests.identity import Identity, Object
from framework.manifests.workload import Workload


class GatewayApi(GatewayTraffic):
    """An HTTPRoute with timeouts, without retries or outlier detection."""

    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return one HTTPRoute that sends all requests to the first Service."""
        return [http_route(self, workload, services, environment)]

    def routing(self, identity: Identity) -> Object:
        """Return the plugin's reference to the HTTPRoute."""
        return plugin_routing(identity)


def http_route(
    target: GatewayTraffic, workload: Workload, services: Sequence[str], environment: Environment
) -> Object:
    """Return one HTTPRoute that sends all requests to the first Service.

    It includes the API server's default values, so that Argo CD sees no difference.
    """
    namespace, _, name = target.gateway.partition("/")
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    backends = [
        {
            "group": "",
            "kind": "Service",
            "name": service,
            "port": workload.service_port,
            "weight": 100 if service == services[0] else 0,
        }
        for service in services
    ]
    rule = {
        "backendRefs": backends,
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "name": ROUTE,
        "timeouts": {"backendRequest": f"{target.try_seconds}s", "request": f"{target.timeout_seconds}s"},
    }
    spec = {
        "hostnames": [target.host(workload.identity, environment)],
        "parentRefs": [{**parent, "name": name, "namespace": namespace}],
        "rules": [rule],
    }
    return workload.identity.object("gateway.networking.k8s.io/v1", "HTTPRoute", spec=spec)


def plugin_routing(identity: Identity) -> Object:
    """Return the reference of Argo Rollouts' plugin to the HTTPRoute."""
    route = {"name": identity.name, "useHeaderRoutes": True}
    plugin = {"httpRoutes": [route], "namespace": identity.namespace}
    return {"plugins": {"argoproj-labs/gatewayAPI": plugin}}
