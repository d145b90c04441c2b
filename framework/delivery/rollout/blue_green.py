"""Blue-green: all requests move at once, and back as fast, since the old pods stay."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from framework.delivery.monitoring import Monitoring
from framework.delivery.rollout.analysis import Pace, smoke, use
from framework.delivery.rollout.judged import REACTION_SECONDS, Judged
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.values import ObjectName, Peer
from framework.manifests.workload import Workload


class BlueGreen(Judged):
    """A whole second set of pods, asked through a preview Service before it gets any request.

    No request of a user reaches the preview, so before the switch only its readiness can be asked for;
    the comparison with the old release follows the switch, and takes it back. Twice the pods for as long
    as the old ones are kept.
    """

    shares_requests: ClassVar[bool] = False

    judge_seconds: Annotated[int, Field(ge=60)] = 600
    """How long the new release is judged once it has all requests."""
    baseline_seconds: Annotated[int, Field(ge=60)] = 3600
    """What is looked back at of the old release, which gets no requests any more."""
    keep_seconds: Annotated[int, Field(ge=30)] = 3600
    """How long the old pods are kept once the new release is judged well; a rollback within it starts
    none. Later it takes a pod's start more."""
    controller_namespace: ObjectName = "argo-rollouts"
    """Where Argo Rollouts runs, which asks the preview Service."""

    @property
    def judged_seconds(self) -> int:
        """The time after the switch."""
        return self.judge_seconds

    @property
    def callers(self) -> tuple[Peer, ...]:
        """The controller's namespace."""
        return (Peer(namespaces={"kubernetes.io/metadata.name": self.controller_namespace}),)

    @property
    def pace(self) -> Pace:
        """As often as fits into the time after the switch."""
        count = (self.judge_seconds - self.window_seconds) // self.interval_seconds
        return replace(super().pace, baseline=self.baseline_seconds, count=count)

    def beside(self, identity: Identity) -> str:
        """Return the preview's Service."""
        return f"{identity.name}-preview"

    def objects(
        self, workload: Workload, replicas: int | None, traffic: Traffic, monitoring: Monitoring
    ) -> list[Object]:
        """Return what every judged rollout has, and the questions to the preview."""
        judged = super().objects(workload, replicas, traffic, monitoring)
        return [*judged, smoke(workload, self.beside(workload.identity))]

    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return the switch between two Services, with a judge on either side of it."""
        identity = workload.identity
        preview = self.beside(identity)
        return {
            "blueGreen": {
                "activeService": identity.name,
                "autoPromotionEnabled": True,
                "postPromotionAnalysis": use(identity.name),
                "prePromotionAnalysis": {"templates": [{"templateName": preview}]},
                "previewService": preview,
                "scaleDownDelaySeconds": self.judge_seconds + self.keep_seconds,
            }
        }

    def rollback_seconds(self, start_seconds: int) -> int:
        """Return the time of the switch: the old pods still run, for ``keep_seconds``."""
        return REACTION_SECONDS
