"""Our own server as KServe's InferenceService, in Standard mode, without Knative.

KServe creates the Deployment, the Service and the autoscaler from one object. The object includes all of its
webhook's default values, so that Git and cluster are equal. ``kubernetes`` builds the pods.
"""

from typing import Annotated

from pydantic import Field

from framework.core.problem import Problem
from framework.core.release import Release
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.kubernetes import own_workload
from framework.delivery.deployment.own_server import OwnServer
from framework.manifests.identity import Object
from framework.manifests.values import Image
from framework.manifests.workload import Workload

CONTAINER = "kserve-container"
"""KServe's name for the server's container."""


class KServe(OwnServer, ClusterDeployment):
    """An InferenceService with our own server; KServe sets the pace of scaling."""

    image: Image = "gitune/server:0.1.0"
    """The server's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""
    service_port: Annotated[int, Field(ge=80, le=80)] = 80
    """The port of the Service, which KServe creates with port 80."""
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    """Longest time for an answer, in seconds."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return the pods that fetch the model, verify it and serve it.

        Raises:
            ReleaseError: no volume can be mounted for the release's model.
        """
        return own_workload(self.sized(delivery, release), release, delivery, CONTAINER)

    def serving_objects(self, workload: Workload, delivery: Delivery) -> tuple[list[Object], tuple[str, ...]]:
        """Return the InferenceService, and the name of the Service that KServe creates for it."""
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
            "minReplicas": scaling.least(environment),
            "timeout": self.timeout_seconds,
        }
        if workload.labels:
            predictor["labels"] = dict(workload.labels)
        if scaling.cpu_target_percent is not None:  # ``problems`` refuses every other autoscaler
            predictor |= {"scaleMetric": "cpu", "scaleTarget": scaling.cpu_target_percent}
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
        if self.gpus:
            # The autoscaler advises what KServe does not support.
            problems = [problem for problem in problems if not problem.key.startswith("autoscaling")]
            reason = "KServe scales pods by CPU only, which says nothing of the load of a server on GPUs"
            other = "deployment=kubernetes autoscaling=keda monitoring=prometheus"
            problems.append(Problem("deployment.gpus", reason, ("deployment.gpus=0", other)))
        if self.rollout(delivery).progressive:
            reason = "KServe replaces pods itself and supports no other rollout"
            problems.append(Problem("deployment", reason, ("rollout=rolling", "deployment=kubernetes")))
        if delivery.autoscaling.cpu_target_percent is None:
            signals = ("waiting_per_pod", "requests_per_pod", "p99_seconds")
            cpu_only = " ".join(f"autoscaling.{signal}=null" for signal in signals)
            overrides = (f"autoscaling=hpa {cpu_only}", "deployment=kubernetes")
            problems.append(Problem("deployment", "KServe scales pods by CPU only", overrides))
        return problems
