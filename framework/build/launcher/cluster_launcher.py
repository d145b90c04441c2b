"""The base class of the launchers into a cluster: the job's objects, their submission, the release's lock.

The pods build into a store on a volume of their namespace and publish to a remote model store, where the
runner finds the lock. The options decide which kind of object runs the pods.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.launcher import Built, Finished, Launcher, Run, Work
from framework.build.launcher.worker_pod import JOB, STORE, WorkerSettings, network_policy
from framework.core import versions, yaml
from framework.core.errors import ReleaseError, StepError
from framework.core.filesystem import write_whole
from framework.core.job import write_job
from framework.core.problem import Problem
from framework.core.release import Release
from framework.core.source import Source
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import config_map
from framework.manifests.values import LabelValue, Port, is_pinned, unpinned

JOBS = Path(".gitune/jobs")
"""Folder of the rendered jobs, relative to the working folder."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
_MOST_BYTES = 1_000_000
"""The API server's size limit of a ConfigMap, less some bytes for its metadata."""


class ClusterLauncher(Launcher, WorkerSettings):
    """Pods in a Kubernetes cluster, queued by Kueue, that run the worker's command."""

    elsewhere: ClassVar[bool] = True
    done: ClassVar[str]
    """The condition of the job's object that reports success."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")] = "training"
    """The Kubernetes namespace of jobs; it should enforce the Pod Security level ``restricted``."""
    image_folders: tuple[str, ...] = ()
    """Folders that the image's working folder also has, such as ``recipes``. Local files below them need no
    URL."""
    context: str | None = None
    """The kubeconfig's context; None uses the current one, or the pod's own account."""
    dry_run: bool = False
    """Only write the job to ``.gitune/jobs/``; submit nothing."""
    queue: LabelValue | None = "training"
    """Kueue's LocalQueue in the namespace, which admits the job; None starts it at once."""
    priority: LabelValue | None = None
    """Kueue's WorkloadPriorityClass: the job's priority in the queue and under preemption."""
    egress_ports: tuple[Port, ...] = (443,)
    """TCP ports outside the job that pods can reach: of model store, hub and tracking server."""
    deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """Longest time that a job can run after admission; None sets no limit."""

    @abstractmethod
    def running(self, work: Work, identity: Identity) -> list[Object]:
        """Return the objects that run the pods: first what the job refers to, the job itself last."""

    def objects(self, work: Work) -> list[Object]:
        """Return all objects of the job for *work*, in order of creation.

        Raises:
            StepError: the plan exceeds the size limit of a ConfigMap.
        """
        identity = self.identity(work)
        # The model store has no lock, so the job publishes even if the cluster's store has that step.
        text = write_job(work.steps, work.steps, STORE, work.plugins, work.machines, [work.last])
        if len(text.encode()) > _MOST_BYTES:
            raise StepError(
                f"launcher: the job has {len(text.encode())} bytes, a ConfigMap holds {_MOST_BYTES}; split "
                "the recipe's phases into separate recipes, or set launcher=local"
            )
        files = config_map(identity, {JOB: text}) | {"immutable": True}
        return [files, network_policy(identity, self.egress_ports), *self.running(work, identity)]

    def identity(self, work: Work) -> Identity:
        """Return the name, labels and annotations of the job's objects; the plan determines the name."""
        # A pod's name, with JobSet's suffixes, must fit a label's value.
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
        """The job's labels for Kueue."""
        labels = {QUEUE_LABEL: self.queue, _PRIORITY_LABEL: self.priority}
        return {key: value for key, value in labels.items() if value is not None}

    def uses(self) -> Mapping[str, str]:
        """Return the client that submits the job."""
        return {} if self.dry_run else {"kubernetes": "cluster"}

    def problems(self, url: str, sources: Iterable[Source], pinned: bool) -> list[Problem]:
        """Return what the pods could not reach: files of this machine, and a model store on its disk."""
        problems = []
        if (scheme := url.partition("://")[0]) in ("file", "local") or scheme == url:
            reason = f"'{url}' would be deleted with the job's pod"
            overrides = ("publish.url=s3://<bucket>/models", "launcher=local")
            problems.append(Problem("publish.url", reason, overrides))
        if pinned and not is_pinned(self.image):
            problems.append(unpinned("launcher.image", self.image, "the environment"))
        advice = (
            "upload it to a model store or the hub and use that URL (such as "
            "data.train=s3://<bucket>/rows.jsonl), or build an image with its folder and name that in "
            "launcher.image_folders"
        )
        for source in self._left_behind(sources):
            reason = f"'{source.url}' is on this machine only"
            problems.append(Problem("launcher", reason, ("launcher=local",), advice))
        return problems

    def _left_behind(self, sources: Iterable[Source]) -> list[Source]:
        local = [source for source in sources if source.local and not self._in_image(source)]
        return list({source.url: source for source in local}.values())

    def _in_image(self, source: Source) -> bool:
        """Return whether the image also has the file: shipped with the framework, or in ``image_folders``."""
        path = Path(source.url.removeprefix("file://"))
        in_folder = any(path.is_relative_to(folder) for folder in self.image_folders)
        return in_folder or source.shipped

    def preview(self, work: Work) -> str:
        """Return which object would be submitted, where, and its size."""
        *_, job = self.objects(work)
        gpus = f" with {work.processes} GPUs each" if work.gpus else ""
        machines = f"{work.machines} machines" if work.machines > 1 else "1 machine"
        queue = f", queue {self.queue}" if self.queue is not None else ""
        name = job["metadata"]["name"]
        return (
            f"Job: {job['kind']} {name} in namespace {self.namespace}{queue}: {machines}{gpus}. Steps in "
            f"the store of claim {self.store_claim} are not built again. launcher.dry_run=true writes the "
            f"objects to {JOBS}/{name}/."
        )

    def find(self, work: Work) -> Release | None:
        """Return the release whose lock is in the model store; see the base class."""
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
