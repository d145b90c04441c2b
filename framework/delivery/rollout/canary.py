"""Canary: a new release gets one request in a hundred, then one in twenty, then all."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.delivery.rollout.analysis import use
from framework.delivery.rollout.judged import Judged
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.workload import Workload


class Canary(Judged):
    """Shares of the requests, each judged before the next; the old pods stay until all is well.

    The last step to 100 % is no step of its own: Argo Rollouts promotes once all new pods are ready, and a
    rollback that skips the steps then never sends more than the last share to pods that are still starting.
    """

    weights: Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], Field(min_length=1)] = (1, 5)
    """Percent of the requests that the new release gets, step by step, before it gets all."""
    pause_seconds: Annotated[int, Field(ge=60)] = 600
    """How long each share is judged."""

    @model_validator(mode="after")
    def _weights_ascend(self) -> "Canary":
        if any(later <= earlier for earlier, later in pairwise(self.weights)):
            raise PydanticCustomError("weights_order", "'weights' should ascend, such as [1, 5]")
        return self

    @property
    def judged_seconds(self) -> int:
        """All pauses together."""
        return len(self.weights) * self.pause_seconds

    def beside(self, identity: Identity) -> str:
        """Return the canary's Service."""
        return f"{identity.name}-canary"

    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return weights and pauses, judged in the background from the first weight on."""
        identity = workload.identity
        steps: list[Object] = []
        for weight in self.weights:
            steps += [{"setWeight": weight}, {"pause": {"duration": f"{self.pause_seconds}s"}}]
        return {
            "canary": {
                "analysis": {**use(identity.name), "startingStep": 1},
                "canaryService": self.beside(identity),
                "scaleDownDelaySeconds": 60,  # until every proxy has heard that the old pods leave
                "stableService": identity.name,
                "steps": steps,
                "trafficRouting": traffic.routing(identity),
            }
        }
