"""Build in a cluster with Kubeflow Trainer v2.3 or later: a TrainJob and its TrainingRuntime."""

from typing import ClassVar

from framework.build.launcher import Work
from framework.build.launcher.cluster_launcher import ClusterLauncher
from framework.build.launcher.worker_pod import COMMAND, CONTAINER, job_spec, resources, worker_pod
from framework.manifests.identity import Identity, Object

_API = "trainer.kubeflow.org/v1alpha1"
_STEP = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}


class TrainJob(ClusterLauncher):
    """A ``TrainJob``, and a ``TrainingRuntime`` with the pods' template.

    Trainer creates a JobSet from the two and configures torchrun's rendezvous. It keeps finished jobs until
    they are deleted (kubeflow/trainer issue 4052).
    """

    done: ClassVar[str] = "Complete"

    def running(self, work: Work, identity: Identity) -> list[Object]:
        """Return the runtime and the job."""
        template = {
            "metadata": {"labels": dict(identity.labels)},
            "spec": worker_pod(self, work, identity, []),
        }
        group = {
            "name": CONTAINER,
            "template": {"metadata": {"labels": dict(_STEP)}, "spec": job_spec(self, template)},
        }
        runtime = {
            "mlPolicy": {"numNodes": work.machines, "torch": {}},
            "template": {"spec": {"replicatedJobs": [group]}},
        }
        job: Object = {
            "runtimeRef": {
                "apiGroup": _API.partition("/")[0],
                "kind": "TrainingRuntime",
                "name": identity.name,
            },
            "suspend": self.queue is not None,
            "trainer": {
                "command": list(COMMAND),
                "image": self.image,
                "numNodes": work.machines,
                "numProcPerNode": work.processes,
                "resourcesPerNode": resources(self, work),
            },
        }
        if self.deadline_seconds is not None:
            job["activeDeadlineSeconds"] = self.deadline_seconds
        return [
            identity.object(_API, "TrainingRuntime", spec=runtime),
            identity.object(_API, "TrainJob", labels=self.queue_labels, spec=job),
        ]
