"""Build in a cluster with JobSet, without Kubeflow Trainer."""

from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.launcher import Work
from framework.build.launcher.cluster_launcher import ClusterLauncher
from framework.build.launcher.worker_pod import CONTAINER, job_spec, worker_pod
from framework.core.machine_rank import MACHINE, MASTER, PORT
from framework.manifests.identity import Identity, Object

_RENDEZVOUS_PORT = 29500


class JobSet(ClusterLauncher):
    """A ``JobSet`` with one group of pods; each finds the first pod by its host name."""

    done: ClassVar[str] = "Completed"

    keep_seconds: Annotated[int, Field(ge=0)] = 86_400
    """Seconds that the finished job and its log are kept."""

    def running(self, work: Work, identity: Identity) -> list[Object]:
        """Return the JobSet."""
        template = {
            "metadata": {"labels": dict(identity.labels)},
            "spec": worker_pod(self, work, identity, _rendezvous(work, identity)),
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


def _rendezvous(work: Work, identity: Identity) -> list[Object]:
    """Return the variables with this machine's rank and the first machine's address, for torchrun."""
    if work.machines == 1:
        return []
    index = {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}
    return [
        {"name": MACHINE, "valueFrom": {"fieldRef": index}},
        {"name": MASTER, "value": f"{identity.name}-{CONTAINER}-0-0.{identity.name}"},
        {"name": PORT, "value": str(_RENDEZVOUS_PORT)},
    ]
