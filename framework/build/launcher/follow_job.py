"""Submit a job, pass its log on, and end as its worker ended.

Called again for a job that runs, it follows that one; one that failed is replaced, and goes on from the
store. It knows pods and conditions; what the objects run, it does not know.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from framework.build.launcher import Interrupted
from framework.build.launcher.worker_pod import CONTAINER
from framework.core.errors import ClusterError, StepError
from framework.manifests.api_connection import ApiConnection, Remedies
from framework.manifests.identity import Object
from framework.manifests.kubernetes_api import KubernetesApi, Silence

_INDEX = "batch.kubernetes.io/job-completion-index"
_WORKLOAD = ("kueue.x-k8s.io/v1beta2", "Workload")
OUTAGE_SECONDS = 300.0
"""How long a request is repeated while the API server does not answer."""
_REMEDIES = Remedies(
    connect="set KUBECONFIG or launcher.context=<name>, or only write the job with launcher.submit=false",
    unreachable=(
        "check KUBECONFIG and the network; a submitted job keeps running, and the same command follows it"
    ),
    forbidden="ask an administrator to bind the Role in environments/argocd/training/ to this account",
    unknown_kind=(
        "install its controller (Kubeflow Trainer or JobSet), choose the other of launcher=trainjob and "
        "launcher=jobset, or set launcher.namespace"
    ),
    invalid="fix the launcher setting it names",
)
_BAD_WAITS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
_KILLED = 128 + signal.SIGKILL


def follow(
    objects: Sequence[Object], done: str, context: str | None, command: str, pause: float = 3.0
) -> None:
    """See that the job runs, pass its first machine's log on, and return once it ended well.

    Args:
        objects: the job, last, and what it needs.
        done: the job's condition for a good end.
        context: the kubeconfig's context.
        command: the command as it was typed.
        pause: seconds between two looks at the job.

    Raises:
        Interrupted: a signal came; the job goes on.
        StepError: the worker failed, with its own message and exit code.
        ClusterError: the API server refuses or is gone, or the job was deleted.
    """
    with _interruptible(objects[-1], command):
        api = KubernetesApi(ApiConnection(context, _REMEDIES, OUTAGE_SECONDS))
        _submit(api, objects, done)
        _Following(api, objects[-1], done, pause).to_the_end()


@contextlib.contextmanager
def _interruptible(job: Object, command: str) -> Iterator[None]:
    """Leave the job alone where a signal ends us: hours of work should not hang on a terminal."""
    name, kind = job["metadata"]["name"], job["kind"]

    def stop(number: int, frame: object) -> NoReturn:
        end = f"kubectl delete {kind.lower()} -n {job['metadata']['namespace']} {name}"
        goes_on = f"{kind} {name} goes on in the cluster. The same command follows it again"
        raise Interrupted(number, f"{goes_on}:\n  {command}\nThis ends it:\n  {end}")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _submit(api: KubernetesApi, objects: Sequence[Object], done: str) -> None:
    *parts, job = objects
    where = f"{job['kind']} {job['metadata']['namespace']}/{job['metadata']['name']}"
    there = api.get(job)
    if there is not None and _ended(there, done) is not None:
        print(f"{where} has ended without a release; starting it again", flush=True)
        api.delete(job)
        there = None
    if there is None:
        for part in parts:
            if api.create(part) is None:  # of a job that is gone; what it says may be another job's
                api.delete(part)
                api.create(part)
        there = api.create(job)
        print(f"Submitted {where}; Ctrl-C leaves it running.", flush=True)
    else:
        print(f"{where} is there already; following it. Ctrl-C leaves it running.", flush=True)
    owner = there or api.get(job)
    for part in parts:
        if owner is not None:
            api.set_owner(part, owner)


def _ended(job: Object, done: str) -> Object | None:
    """Return the condition that says that the job has ended, or None."""
    conditions = job.get("status", {}).get("conditions") or []
    ends = [each for each in conditions if each["type"] in (done, "Failed") and each["status"] == "True"]
    return ends[0] if ends else None


class _Following:
    """One job, and how much of it has been told."""

    def __init__(self, api: KubernetesApi, job: Object, done: str, pause: float) -> None:
        self.api, self.job, self.done, self.pause = api, job, done, pause
        self.told: set[str] = set()
        self.heard: dict[str, str] = {}
        """The time of the last line that was passed on, by the pod's uid."""

    def to_the_end(self) -> None:
        while True:
            job = self.api.get(self.job)
            if job is None:
                raise ClusterError(
                    f"{self.job['kind']} {self.job['metadata']['name']}: deleted while it was followed; type "
                    "the same command again to go on from what the store holds"
                )
            end, pod = _ended(job, self.done), self._first_pod()
            if job.get("spec", {}).get("suspend") and end is None:
                self._tell(self._queued(job))
            elif pod is not None:
                self._tell(_waiting(pod))
                self._pass_on(pod, follow=end is None)
            if end is not None:
                return self._conclude(end, pod)
            time.sleep(self.pause)

    def _first_pod(self) -> Object | None:
        """Return the newest pod of the first machine: one that was lost is replaced by another."""
        metadata = self.job["metadata"]
        labels = {"app.kubernetes.io/instance": metadata["name"], _INDEX: "0"}
        pods = self.api.items("v1", "Pod", metadata["namespace"], labels)
        return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def _queued(self, job: Object) -> str:
        """Say why Kueue does not admit the job yet."""
        metadata = job["metadata"]
        labels = {"kueue.x-k8s.io/job-uid": str(metadata.get("uid"))}
        for workload in self.api.items(*_WORKLOAD, metadata["namespace"], labels, optional=True):
            for condition in workload.get("status", {}).get("conditions") or []:
                if condition["type"] == "QuotaReserved" and condition["status"] != "True":
                    return f"queued by Kueue: {condition.get('message', '')}"
        return "queued: waiting for Kueue to admit it"

    def _tell(self, line: str) -> None:
        if line and line not in self.told:
            self.told.add(line)
            print(f"  {line}", file=sys.stderr, flush=True)

    def _pass_on(self, pod: Object, follow: bool) -> None:
        """Print what the pod's log says beyond what has been passed on; return when it falls silent."""
        state = _state(pod)
        if not ("running" in state or "terminated" in state):
            return
        key = str(pod["metadata"]["uid"])
        with contextlib.suppress(Silence):
            for line in self.api.log_lines(pod, CONTAINER, follow):
                when, _, text = line.partition(" ")
                if when > self.heard.get(key, ""):
                    self.heard[key] = when
                    print(text, flush=True)

    def _conclude(self, end: Object, pod: Object | None) -> None:
        """Return if *end* is a good one.

        Raises:
            StepError: it is not.
        """
        if end["type"] == self.done:
            return
        terminated = _state(pod).get("terminated") or {} if pod is not None else {}
        code, name = int(terminated.get("exitCode") or 0), self.job["metadata"]["name"]
        if code == _KILLED or terminated.get("reason") == "OOMKilled":
            raise StepError(
                f"{name}: the worker was ended by SIGKILL; the system ends what takes too much memory: raise "
                "launcher.limits.memory, or set training.micro_batch_size=1; the same command goes on"
            )
        said = str(terminated.get("message") or "").strip() if code else ""
        failure = StepError(said or f"{name}: {end.get('message') or end.get('reason') or 'it failed'}")
        failure.exit_code = code or failure.exit_code
        raise failure


def _state(pod: Object) -> dict[str, Any]:
    """Return the state of the worker's container, empty where there is none yet."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    found: dict[str, Any] = next((each["state"] for each in statuses if each["name"] == CONTAINER), {})
    return found


def _waiting(pod: Object) -> str:
    """Say what keeps a pod from starting, where that is more than a moment's matter."""
    waits = _state(pod).get("waiting") or {}
    if waits.get("reason") in _BAD_WAITS:
        return f"{waits['reason']}: {waits.get('message', '')}"
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no machine for it yet: {condition.get('message', '')}"
    return ""
