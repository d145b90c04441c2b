"""Build in a cluster by JobSet alone, where Kubeflow Trainer is not installed."""

from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.launcher import Work
from framework.build.launcher.cluster_launcher import ClusterLauncher
from framework.build.launcher.worker_pod import CONTAINER, job_spec, worker_pod
from framework.core.machine_rank import MACHINE, MASTER, PORT
from framework.manifests.identity import Identity, Object

_MEETING_PORT = 29500


class JobSet(ClusterLauncher):
    """A ``JobSet`` of one group of pods, each of which finds the first by its name."""

    done: ClassVar[str] = "Completed"

    keep_seconds: Annotated[int, Field(ge=0)] = 86_400
    """How long the finished job and its log are kept."""

    def running(self, work: Work, identity: Identity) -> list[Object]:
        """Return the JobSet."""
        template = {
            "metadata": {"labels": dict(identity.labels)},
            "spec": worker_pod(self, work, identity, _meeting(work, identity)),
        }
        job = job_spec(self, template)
        job |= {"completionMode": "Indexed", "completions": work.machines, "parallelism": work.machines}
        if self.deadline_seconds is not None:
            job["activeDeadlineSeconds"] = self.deadline_seconds
        group = {
            "name": CONTAINER,
            "replicas": 1,
            "template": {"metadata": {"labels": dict(identity.labels)}, "spec": job},
        }
        spec = {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "replicatedJobs": [group],
            "suspend": self.queue is not None,
            "ttlSecondsAfterFinished": self.keep_seconds,
        }
        return [identity.object("jobset.x-k8s.io/v1alpha2", "JobSet", labels=self.queue_labels, spec=spec)]


def _meeting(work: Work, identity: Identity) -> list[Object]:
    """Return what tells torchrun which machine this is and where the first is reached."""
    if work.machines == 1:
        return []
    number = {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}
    return [
        {"name": MACHINE, "valueFrom": {"fieldRef": number}},
        {"name": MASTER, "value": f"{identity.name}-{CONTAINER}-0-0.{identity.name}"},
        {"name": PORT, "value": str(_MEETING_PORT)},
    ]
