"""Shadow: a new release gets mirrored requests; its answers are discarded, its metrics judged."""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.delivery.rollout.analysis import use
from framework.delivery.rollout.judged import Judged
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.workload import Workload

MIRROR_ROUTE = "shadow"
"""The managed route that mirrors requests."""


class Shadow(Judged):
    """Mirrors real requests and compares the metrics of both releases, then switches all requests.

    Only ``POST`` requests are mirrored; all requests to the model are.
    """

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the requests that are mirrored, in percent; the new release gets this share of the pods."""
    mirror_seconds: Annotated[int, Field(ge=60)] = 3600
    """How long requests are mirrored."""

    @property
    def judged_seconds(self) -> int:
        """Duration of the mirroring."""
        return self.mirror_seconds

    def beside(self, identity: Identity) -> str:
        """Return the shadow's Service."""
        return f"{identity.name}-shadow"

    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return a canary with a mirror and without weight."""
        identity = workload.identity
        match = [{"method": {"exact": "POST"}, "path": {"prefix": "/"}}]
        return {
            "canary": {
                "analysis": {**use(identity.name), "startingStep": 3},
                "canaryService": self.beside(identity),
                "scaleDownDelaySeconds": 60,  # until every proxy has noticed that the old pods leave
                "stableService": identity.name,
                "steps": [
                    {"setWeight": 0},
                    {"setCanaryScale": {"weight": self.percent}},
                    {"setMirrorRoute": {"match": match, "name": MIRROR_ROUTE, "percentage": self.percent}},
                    {"pause": {"duration": f"{self.mirror_seconds}s"}},
                    {"setMirrorRoute": {"name": MIRROR_ROUTE}},  # without a match, the route is removed
                ],
                "trafficRouting": {**traffic.routing(identity), "managedRoutes": [{"name": MIRROR_ROUTE}]},
            }
        }

    def problems(
        self,
        traffic: Traffic,
        autoscaling: Autoscaling,
        monitoring: Monitoring,
        environment: Environment,
        start_seconds: int,
    ) -> list[Problem]:
        """Return traffic that cannot mirror requests, so that the shadow would never see one."""
        problems = super().problems(traffic, autoscaling, monitoring, environment, start_seconds)
        if traffic.splits and not traffic.mirrors:
            reason = "a shadow needs mirrored requests, which Argo Rollouts' Gateway API plugin does not send"
            problems.append(Problem("rollout", reason, ("traffic=istio", "rollout=canary")))
        return problems
