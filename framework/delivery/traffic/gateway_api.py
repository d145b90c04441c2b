"""Kubernetes' Gateway API: one HTTPRoute, for whichever implementation runs the Gateway.

The standard (v1, channel ``standard`` of Gateway API 1.6) has weights, header matches and timeouts. It has
no outlier detection and no connection pool, and its retries are still experimental, so none of them is
rendered here. An implementation's own objects bring them: Envoy Gateway's ``BackendTrafficPolicy``
(``healthCheck.passive``, ``retry``), or Istio as the implementation, which obeys a ``DestinationRule``; who
needs them from here takes ``traffic=istio``. Weights are moved by Argo Rollouts through its plugin
``argoproj-labs/gatewayAPI``, which passes over the step that copies requests without a word (its issue 32):
nothing is mirrored, though the standard could.
"""

from collections.abc import Sequence

from framework.delivery.environment import Environment
from framework.delivery.traffic.gateway import ROUTE, GatewayTraffic
from framework.manifests.identity import Identity, Object
from framework.manifests.workload import Workload


class GatewayApi(GatewayTraffic):
    """An HTTPRoute at a Gateway; timeouts, but neither retries nor outlier detection."""

    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return one HTTPRoute that sends everything to the first Service.

        What an API server would fill in is written out, so that a sync finds no difference.
        """
        namespace, _, name = self.gateway.partition("/")
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
            "timeouts": {"backendRequest": f"{self.try_seconds}s", "request": f"{self.timeout_seconds}s"},
        }
        spec = {
            "hostnames": [self.host(workload.identity, environment)],
            "parentRefs": [{**parent, "name": name, "namespace": namespace}],
            "rules": [rule],
        }
        return [workload.identity.object("gateway.networking.k8s.io/v1", "HTTPRoute", spec=spec)]

    def routing(self, identity: Identity) -> Object:
        """Return the plugin's words for the HTTPRoute."""
        route = {"name": identity.name, "useHeaderRoutes": True}
        plugin = {"httpRoutes": [route], "namespace": identity.namespace}
        return {"plugins": {"argoproj-labs/gatewayAPI": plugin}}
