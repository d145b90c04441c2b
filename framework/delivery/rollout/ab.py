"""A/B: two releases serve side by side for as long as it takes to tell them apart."""

from typing import Annotated

from pydantic import Field

from framework.delivery.rollout.analysis import use
from framework.delivery.rollout.judged import Judged
from framework.delivery.traffic import Traffic
from framework.manifests.identity import ARM, Identity, Object
from framework.manifests.workload import Workload

_ROUTE = "arm-b"


class Ab(Judged):
    """Requests shared by weight or by a header; both arms are recorded, and b stays unless it is worse.

    The pods' label ``gitune.dev/arm`` tells the arms apart in their measurements and logs; a caller that
    was not sent by a header learns its arm from Istio's response header ``x-gitune-service``.
    """

    share: Annotated[int, Field(ge=1, le=99)] = 50
    """Percent of the requests that b gets; with a header, percent of the pods."""
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = None
    """The request header that sends a caller to b; None shares by weight alone."""
    value: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "b"
    """What that header must say."""
    test_seconds: Annotated[int, Field(ge=60)] = 86_400
    """How long both serve."""

    @property
    def judged_seconds(self) -> int:
        """The whole test."""
        return self.test_seconds

    def beside(self, identity: Identity) -> str:
        """Return the Service of b."""
        return f"{identity.name}-b"

    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return a canary with one share, or with a route for the header."""
        identity = workload.identity
        routing = traffic.routing(identity)
        pause = {"pause": {"duration": f"{self.test_seconds}s"}}
        steps: list[Object] = [{"setWeight": self.share}, pause]
        if self.header is not None:
            match = [{"headerName": self.header, "headerValue": {"exact": self.value}}]
            steps = [
                {"setWeight": 0},
                {"setCanaryScale": {"weight": self.share}},
                {"setHeaderRoute": {"match": match, "name": _ROUTE}},
                pause,
                {"setHeaderRoute": {"name": _ROUTE}},  # without a match it is taken away
            ]
            routing = {**routing, "managedRoutes": [{"name": _ROUTE}]}
        return {
            "canary": {
                "analysis": {**use(identity.name), "startingStep": steps.index(pause)},
                "canaryMetadata": {"labels": {ARM: "b"}},
                "canaryService": self.beside(identity),
                "scaleDownDelaySeconds": 60,  # until every proxy has heard that the old pods leave
                "stableMetadata": {"labels": {ARM: "a"}},
                "stableService": identity.name,
                "steps": steps,
                "trafficRouting": routing,
            }
        }
