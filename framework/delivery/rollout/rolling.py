"""A plain Deployment: pods are replaced one by one, each after the new one is ready."""

from typing import ClassVar

from framework.delivery.monitoring import Monitoring
from framework.delivery.rollout import Rollout
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import deployment, service
from framework.manifests.workload import Workload


class Rolling(Rollout):
    """Replaces pods without downtime; only its probes judge the new release."""

    progressive: ClassVar[bool] = False

    def objects(self, workload: Workload, traffic: Traffic, monitoring: Monitoring) -> list[Object]:
        """Return a Deployment and its Service."""
        return [deployment(workload), service(workload)]

    def scaled(self, identity: Identity) -> Object:
        """Return the reference to the Deployment."""
        return {"apiVersion": "apps/v1", "kind": "Deployment", "name": identity.name}

    def services(self, identity: Identity) -> tuple[str, ...]:
        """Return the one Service."""
        return (identity.name,)

    def rollback_seconds(self, start_seconds: int) -> int:
        """Return the start time of the first pod; the others follow one by one."""
        return start_seconds
