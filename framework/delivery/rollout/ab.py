"""A/B test: two releases serve side by side for a fixed time."""

from typing import Annotated

from pydantic import Field

from framework.delivery.rollout.analysis import use
from framework.delivery.rollout.judged import Judged
from framework.delivery.traffic import Traffic
from framework.manifests.identity import ARM, Identity, Object
from framework.manifests.workload import Workload

HEADER_ROUTE = "arm-b"
"""The managed route for requests with the header."""


class Ab(Judged):
    """Splits requests by weight or by header; both arms are recorded, and b stays unless it is worse.

    The pods' label ``gitune.dev/arm`` distinguishes the arms in metrics and logs. A caller that was routed by
    weight learns its arm from Istio's response header ``x-gitune-service``.
    """

    share: Annotated[int, Field(ge=1, le=99)] = 50
    """Share of the requests that b gets, in percent; with a header, share of the pods."""
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = None
    """The request header that routes a caller to b; None splits by weight."""
    value: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "b"
    """The header's value that selects b."""
    test_seconds: Annotated[int, Field(ge=60)] = 86_400
    """Duration of the test."""

    @property
    def judged_seconds(self) -> int:
        """Duration of the test."""
        return self.test_seconds

    def beside(self, identity: Identity) -> str:
        """Return the name of b's Service."""
        return f"{identity.name}-b"

    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return a canary with one weight, or with a route for the header."""
        identity = workload.identity
        routing = traffic.routing(identity)
        pause = {"pause": {"duration": f"{self.test_seconds}s"}}
        steps: list[Object] = [{"setWeight": self.share}, pause]
        if self.header is not None:
            match = [{"headerName": self.header, "headerValue": {"exact": self.value}}]
            steps = [
                {"setWeight": 0},
                {"setCanaryScale": {"weight": self.share}},
                {"setHeaderRoute": {"match": match, "name": HEADER_ROUTE}},
                pause,
                {"setHeaderRoute": {"name": HEADER_ROUTE}},  # without a match, the route is removed
            ]
            routing = {**routing, "managedRoutes": [{"name": HEADER_ROUTE}]}
        return {
            "canary": {
                "analysis": {**use(identity.name), "startingStep": steps.index(pause)},
                "canaryMetadata": {"labels": {ARM: "b"}},
                "canaryService": self.beside(identity),
                "scaleDownDelaySeconds": 60,  # until every proxy has noticed that the old pods leave
                "stableMetadata": {"labels": {ARM: "a"}},
                "stableService": identity.name,
                "steps": steps,
                "trafficRouting": routing,
            }
        }
