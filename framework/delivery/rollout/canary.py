"""Canary: a new release gets a small share of the requests, then a larger one, then all."""

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
    """Growing shares of the requests, each judged before the next; the old pods stay until promotion.

    100 % is not a step of its own: Argo Rollouts promotes once all new pods are ready. So a rollback that
    skips the steps never sends more than the last share to pods that are still starting.
    """

    weights: Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], Field(min_length=1)] = (1, 5)
    """Share of the requests that the new release gets at each step, in percent, before it gets all."""
    pause_seconds: Annotated[int, Field(ge=60)] = 600
    """Duration of each step."""

    @model_validator(mode="after")
    def _weights_ascend(self) -> "Canary":
        if any(later <= earlier for earlier, later in pairwise(self.weights)):
            raise PydanticCustomError("weights_order", "'weights' should ascend, such as [1, 5]")
        return self

    @property
    def judged_seconds(self) -> int:
        """Duration of all steps."""
        return len(self.weights) * self.pause_seconds

    def beside(self, identity: Identity) -> str:
        """Return the canary's Service."""
        return f"{identity.name}-canary"

    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return weights and pauses, with background analysis from the first weight on."""
        identity = workload.identity
        steps: list[Object] = []
        for weight in self.weights:
            steps += [{"setWeight": weight}, {"pause": {"duration": f"{self.pause_seconds}s"}}]
        return {
            "canary": {
                "analysis": {**use(identity.name), "startingStep": 1},
                "canaryService": self.beside(identity),
                "scaleDownDelaySeconds": 60,  # until every proxy has noticed that the old pods leave
                "stableService": identity.name,
                "steps": steps,
                "trafficRouting": traffic.routing(identity),
            }
        }
