"""Our own server as KServe's InferenceService, in its mode without Knative.

KServe makes the Deployment, the Service and the autoscaler out of one object, which stands here with
all that its webhook would fill in, so that what lies in Git is what lies in the cluster. What the pods
are, ``framework.delivery.deployment.kubernetes`` says.
"""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.core.release import Release
from framework.delivery.autoscaling.hpa import Hpa
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.kubernetes import own_workload
from framework.manifests.identity import Object
from framework.manifests.values import Image
from framework.manifests.workload import Workload

CONTAINER = "kserve-container"
"""What KServe calls the container that answers."""


class KServe(ClusterDeployment):
    """An InferenceService around our own server; KServe scales it at its own pace."""

    image: Image = "gitune/server:0.1.0"
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""
    service_port: Annotated[int, Field(ge=80, le=80)] = 80
    """The port of the Service, which KServe makes and which is always 80."""
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    """Longest time that an answer may take."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return pods that fetch the model, check it and answer.

        Raises:
            ReleaseError: the release's model lies where no volume can be mounted.
        """
        return own_workload(self.sized(delivery), release, delivery, CONTAINER)

    def serving_objects(self, workload: Workload, delivery: Delivery) -> tuple[list[Object], tuple[str, ...]]:
        """Return the InferenceService, and the Service that KServe makes for it."""
        identity, environment, scaling = workload.identity, delivery.environment, delivery.autoscaling
        template = workload.template()
        predictor = {
            **template["spec"],
            "annotations": template["metadata"]["annotations"],
            "deploymentStrategy": {
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                "type": "RollingUpdate",
            },
            "maxReplicas": environment.max_replicas,
            "minReplicas": environment.min_replicas,
            "timeout": self.timeout_seconds,
        }
        if isinstance(scaling, Hpa):  # all others are refused before
            predictor |= {
                "minReplicas": scaling.least(environment),
                "scaleMetric": "cpu",
                "scaleTarget": scaling.target_cpu_percent,
            }
        annotations = {
            "serving.kserve.io/autoscalerClass": "hpa",
            "serving.kserve.io/deploymentMode": "Standard",
        }
        service = identity.object(
            "serving.kserve.io/v1beta1",
            "InferenceService",
            annotations=annotations,
            spec={"predictor": predictor},
        )
        return [service], (f"{identity.name}-predictor",)

    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return what KServe controls itself, and would undo; see the base class."""
        problems = super().problems(delivery)
        if not self.rollout(delivery).plain:
            reason = "KServe replaces pods itself and supports no other rollout"
            problems.append(Problem("deployment", reason, ("rollout=rolling", "deployment=kubernetes")))
        scaling = delivery.autoscaling
        if not isinstance(scaling, Hpa) or any(
            (scaling.waiting_per_pod, scaling.requests_per_pod, scaling.p99_seconds)
        ):
            signals = ("waiting_per_pod", "requests_per_pod", "p99_seconds")
            cpu_only = " ".join(f"autoscaling.{signal}=null" for signal in signals)
            overrides = (f"autoscaling=hpa {cpu_only}", "deployment=kubernetes")
            problems.append(Problem("deployment", "KServe scales pods by CPU only", overrides))
        return problems
