"""What all launchers into a cluster share: the job's objects, their submission, and the lock at the end.

The pods build into a store on a volume of their namespace and publish to a remote model store, where
the runner finds the lock. Which kind of object runs the pods, an option says.
"""

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.launcher import Built, Finished, Launcher, Run, Work
from framework.build.launcher.worker_pod import JOB, STORE, network_policy
from framework.core import versions, yaml
from framework.core.errors import ReleaseError, StepError
from framework.core.filesystem import write_whole
from framework.core.job import write_job
from framework.core.release import Release
from framework.core.source import Source
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import config_map
from framework.manifests.scheduling import Capacity, Toleration
from framework.manifests.values import (
    Amounts,
    Bytes,
    Image,
    LabelKey,
    LabelValue,
    ObjectName,
    Port,
    is_pinned,
)

JOBS = Path(".gitune/jobs")
"""The folder of rendered jobs, one a job, relative to the folder that ``run`` is called in."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
_MOST_BYTES = 1_000_000
"""Most bytes of a ConfigMap, as an API server takes it, less some for its metadata."""


class ClusterLauncher(Launcher):
    """Pods in a Kubernetes cluster, queued by Kueue, that run the worker's own command."""

    done: ClassVar[str]
    """The condition by which the job's object says that all went well."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")] = "training"
    """The Kubernetes namespace of jobs; it should enforce the Pod Security level ``restricted``."""
    image: Image = "gitune/trainer:0.1.0"
    """An image with this very version of the framework and of its libraries; pin it by digest."""
    image_folders: tuple[str, ...] = ()
    """Folders of the working folder that the image's working folder has too, such as ``recipes``: local
    files below them need no URL."""
    context: str | None = None
    """The context of the kubeconfig file; None takes the current one, or the pod's own account."""
    dry_run: bool = False
    """Only write the job to ``.gitune/jobs/``, and submit nothing."""
    queue: LabelValue | None = "training"
    """Kueue's LocalQueue in the namespace, which decides when a job may start; None starts it at once."""
    priority: LabelValue | None = None
    """Kueue's WorkloadPriorityClass: who comes first in the queue, and who is sent back to it."""
    priority_class: ObjectName | None = None
    """The PriorityClass of the pods."""
    requests: Amounts = Amounts(cpu="4", memory="16Gi")
    """What each machine is promised."""
    limits: Amounts = Amounts(cpu="8", memory="32Gi")
    """The most that each machine gets."""
    shared_memory: Bytes = "2Gi"
    """``/dev/shm``, by which the processes of a machine talk; it is a part of the limit."""
    temporary_space: Bytes = "20Gi"
    """Disk for ``/tmp``."""
    store_claim: ObjectName = "gitune-store"
    """The PersistentVolumeClaim of the store and its checkpoints; several machines need ReadWriteMany."""
    service_account: ObjectName = "gitune-trainer"
    """The pods' account; they get no token of it."""
    secret: ObjectName | None = None
    """The Secret whose keys become variables, to open model store, hub and tracking server."""
    egress_ports: tuple[Port, ...] = (443,)
    """TCP ports that pods may reach outside the job: of the model store, the hub, the tracking server."""
    node_selector: dict[LabelKey, LabelValue] = Field(default={})
    """Labels that a machine must have; Kueue adds those of the flavour that it chose."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that do not keep the pods off a machine; that of GPU nodes is tolerated where GPUs train."""
    capacity: Capacity = Capacity()
    """Whether machines that the cloud may take back train; ``any`` leaves it to Kueue's flavours."""
    topology: LabelKey | None = "topology.kubernetes.io/zone"
    """What several machines should have in common, where there is room; None is nothing."""
    max_restarts: Annotated[int, Field(ge=0)] = 3
    """How often lost pods are replaced, from the last checkpoint; those that a spot pool took back do not
    count, and a reason that would only come again ends the job."""
    deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """Longest time that a job may run once it was admitted; None is for ever."""

    @model_validator(mode="after")
    def _requests_below_limits(self) -> Self:
        for key in self.requests.above(self.limits):
            raise PydanticCustomError(
                "crossed_resources", "'requests.{key}' is above 'limits.{key}'", {"key": key}
            )
        return self

    @abstractmethod
    def running(self, work: Work, identity: Identity) -> list[Object]:
        """Return the objects that run the pods; the last one is the job itself, the others go before."""

    def objects(self, work: Work) -> list[Object]:
        """Return all objects of the job for *work*, in the order in which they are created.

        Raises:
            StepError: the plan is too large for a ConfigMap.
        """
        identity = self.identity(work)
        # A job is submitted where the model store has no lock, whatever the cluster's store says.
        text = write_job(work.steps, work.steps, STORE, work.plugins, work.machines, [work.last])
        if len(text.encode()) > _MOST_BYTES:
            raise StepError(
                f"launcher: the job takes {len(text.encode())} bytes, a ConfigMap {_MOST_BYTES}; split the "
                "recipe's phases into recipes of their own, or set launcher=local"
            )
        files = config_map(identity, {JOB: text}) | {"immutable": True}
        return [files, network_policy(identity, self.egress_ports), *self.running(work, identity)]

    def identity(self, work: Work) -> Identity:
        """Return the name, labels and annotations of the job's objects: one plan, one name."""
        # With what JobSet adds, a pod's name must still be a label's value.
        name = f"{work.name[:29].rstrip('-')}-{work.last.key[:12]}"
        selector = {"app.kubernetes.io/instance": name, "app.kubernetes.io/name": "gitune-trainer"}
        labels = {"app.kubernetes.io/managed-by": "gitune", "app.kubernetes.io/part-of": "gitune"}
        annotations = {
            "gitune.dev/plan": work.plan,
            "gitune.dev/recipe": work.recipe,
            "gitune.dev/release": work.name,
        }
        if work.commit is not None:
            annotations["gitune.dev/commit"] = work.commit
        return Identity(name, self.namespace, selector, {**selector, **labels}, annotations)

    @property
    def queue_labels(self) -> dict[str, str]:
        """What Kueue reads on the job."""
        asked = {QUEUE_LABEL: self.queue, _PRIORITY_LABEL: self.priority}
        return {key: value for key, value in asked.items() if value is not None}

    def problems(self, url: str, sources: Iterable[Source], pinned: bool) -> list[str]:
        """Name what the pods could not reach: files of this machine, and a model store on its disk."""
        found = []
        if (scheme := url.partition("://")[0]) in ("file", "local") or scheme == url:
            found.append(
                f"publish.url: '{url}' would lie in a pod that ends; set "
                "publish.url=s3://<bucket>/models or launcher=local"
            )
        if pinned and not is_pinned(self.image):
            image = self.image.partition("@")[0]
            found.append(
                f"launcher.image: '{self.image}' is not pinned by digest, which this environment requires; "
                f"set launcher.image={image}@sha256:<its digest>"
            )
        for source in self._left_behind(sources):
            found.append(
                f"launcher: '{source.url}' lies on this machine only; copy it to a model store or the hub "
                "and give that URL instead (such as data.train=s3://<bucket>/rows.jsonl), or build an image "
                "that has its folder and name that in launcher.image_folders, or set launcher=local"
            )
        return found

    def _left_behind(self, sources: Iterable[Source]) -> list[Source]:
        alone = [source for source in sources if source.local and not self._in_image(source)]
        return list({source.url: source for source in alone}.values())

    def _in_image(self, source: Source) -> bool:
        """Tell whether the image has the file too: the framework's own, or one in a folder that is named."""
        path = Path(source.url.removeprefix("file://"))
        named = any(path.is_relative_to(folder) for folder in self.image_folders)
        return named or source.shipped

    def preview(self, work: Work) -> str:
        """Say which object would be submitted, where, and how large it is."""
        *_, job = self.objects(work)
        gpus = f" with {work.processes} GPUs each" if work.gpus else ""
        machines = f"{work.machines} machines" if work.machines > 1 else "1 machine"
        queue = f", queue {self.queue}" if self.queue is not None else ""
        name = job["metadata"]["name"]
        return (
            f"Job: {job['kind']} {name} in namespace {self.namespace}{queue}: {machines}{gpus}. What the "
            f"store of claim {self.store_claim} holds is not built again. launcher.dry_run=true writes the "
            f"objects to {JOBS}/{name}/."
        )

    def find(self, work: Work) -> Release | None:
        """Read the lock that the model store keeps of each release."""
        release = versions.find(work.url, work.name, work.plan)
        return release if release is not None and release.recipe == work.recipe else None

    def submit(self, work: Work) -> Run | None:
        """Create the job unless it already exists; see the base class."""
        from framework.build.launcher.follow_job import JobRun

        if (release := self.find(work)) is not None:
            return Finished(Built(release, 0))
        objects = self.objects(work)
        folder = JOBS / objects[-1]["metadata"]["name"]
        for item in objects:
            write_whole(folder / f"{item['kind'].lower()}-{item['metadata']['name']}.yaml", yaml.dump(item))
        if self.dry_run:
            print(f"Wrote {folder}/; submit it with: kubectl create -f {folder}")
            return None
        return JobRun(objects, self.done, self.context, work.command, lambda: self._published(work))

    def _published(self, work: Work) -> Built:
        """Read the release of a job that ended well.

        Raises:
            ReleaseError: the model store does not have it.
        """
        if (release := self.find(work)) is None:
            raise ReleaseError(
                f"{work.url}: the job succeeded, but the lock of {work.name} with plan {work.plan[:12]} is "
                "missing; read the job's log, and check that pods and this machine use the same store"
            )
        return Built(release, len(work.steps))
