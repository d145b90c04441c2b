"""Blue-green: all requests switch at once, and back as fast, since the old pods stay."""

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
    """A second full set of pods, checked through a preview Service before it gets any request.

    No user request reaches the preview, so only its readiness is checked before the switch. The comparison
    with the old release follows the switch and can revert it. It needs twice the pods until the old ones are
    removed.
    """

    shares_requests: ClassVar[bool] = False

    judge_seconds: Annotated[int, Field(ge=60)] = 600
    """How long the new release is judged after the switch."""
    baseline_seconds: Annotated[int, Field(ge=60)] = 3600
    """Look-back window for the old release, which no longer gets requests."""
    keep_seconds: Annotated[int, Field(ge=30)] = 3600
    """How long the old pods are kept after the judgment. A rollback within this time starts no pods; later it
    also takes the start of a pod."""
    controller_namespace: ObjectName = "argo-rollouts"
    """Namespace of Argo Rollouts, which sends requests to the preview Service."""

    @property
    def judged_seconds(self) -> int:
        """How long it is judged after the switch."""
        return self.judge_seconds

    @property
    def callers(self) -> tuple[Peer, ...]:
        """All pods in the controller's namespace."""
        return (Peer(namespaces={"kubernetes.io/metadata.name": self.controller_namespace}),)

    @property
    def pace(self) -> Pace:
        """As many measurements as fit into ``judge_seconds``."""
        count = (self.judge_seconds - self.window_seconds) // self.interval_seconds
        return replace(super().pace, baseline=self.baseline_seconds, count=count)

    def beside(self, identity: Identity) -> str:
        """Return the name of the preview Service."""
        return f"{identity.name}-preview"

    def objects(self, workload: Workload, traffic: Traffic, monitoring: Monitoring) -> list[Object]:
        """Return the objects of every judged rollout, and the check of the preview."""
        judged = super().objects(workload, traffic, monitoring)
        return [*judged, smoke(workload, self.beside(workload.identity))]

    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return the switch between two Services, with an analysis before and after it."""
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
        """Return the duration of the switch: the old pods still run, for ``keep_seconds``."""
        return REACTION_SECONDS
