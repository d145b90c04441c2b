"""Submits a job, prints its log, and ends as its worker ended.

A job that already runs is followed. A job that failed is replaced and resumes from the store.
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
_START_ERRORS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
_KILLED = 128 + signal.SIGKILL


def follow(
    objects: Sequence[Object], done: str, context: str | None, command: str, pause: float = 3.0
) -> None:
    """Submit the job unless it runs, print its first machine's log, and return when it succeeded.

    Args:
        objects: the objects that the job refers to, and the job last.
        done: the job's condition that reports success.
        context: the kubeconfig's context.
        command: the user's command line.
        pause: seconds between two polls of the job.

    Raises:
        Interrupted: a signal arrived; the job keeps running.
        StepError: the worker failed; carries its message and exit code.
        ClusterError: the API server refuses or cannot be reached, or the job was deleted.
    """
    with _interruptible(objects[-1], command):
        api = KubernetesApi(ApiConnection(context, _REMEDIES, OUTAGE_SECONDS))
        _submit(api, objects, done)
        _Following(api, objects[-1], done, pause).run()


@contextlib.contextmanager
def _interruptible(job: Object, command: str) -> Iterator[None]:
    """Keep the job running when a signal ends this process."""
    name, kind = job["metadata"]["name"], job["kind"]

    def stop(number: int, frame: object) -> NoReturn:
        delete = f"kubectl delete {kind.lower()} -n {job['metadata']['namespace']} {name}"
        running = f"{kind} {name} keeps running in the cluster. The same command follows it again"
        raise Interrupted(number, f"{running}:\n  {command}\nTo delete it:\n  {delete}")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _submit(api: KubernetesApi, objects: Sequence[Object], done: str) -> None:
    *dependencies, job = objects
    where = f"{job['kind']} {job['metadata']['namespace']}/{job['metadata']['name']}"
    existing = api.get(job)
    if existing is not None and _end_condition(existing, done) is not None:
        print(f"{where} ended without a release; starting it again", flush=True)
        api.delete(job)
        existing = None
    if existing is None:
        for dependency in dependencies:
            if api.create(dependency) is None:  # left by a deleted job, perhaps with other content
                api.delete(dependency)
                api.create(dependency)
        existing = api.create(job)
        print(f"Submitted {where}; Ctrl-C leaves it running.", flush=True)
    else:
        print(f"{where} already exists; following it. Ctrl-C leaves it running.", flush=True)
    owner = existing or api.get(job)
    for dependency in dependencies:
        if owner is not None:
            api.set_owner(dependency, owner)


def _end_condition(job: Object, done: str) -> Object | None:
    """Return the condition that ended the job; None while it runs."""
    conditions = job.get("status", {}).get("conditions") or []
    final = (entry for entry in conditions if entry["type"] in (done, "Failed") and entry["status"] == "True")
    return next(final, None)


class _Following:
    """A job, and which of its messages and log lines were printed."""

    def __init__(self, api: KubernetesApi, job: Object, done: str, pause: float) -> None:
        self.api, self.job, self.done, self.pause = api, job, done, pause
        self.reported: set[str] = set()
        self.last_line_times: dict[str, str] = {}
        """Timestamp of the last printed log line, by the pod's UID."""

    def run(self) -> None:
        while True:
            job = self.api.get(self.job)
            if job is None:
                raise ClusterError(
                    f"{self.job['kind']} {self.job['metadata']['name']}: deleted while it was followed; run "
                    "the same command again to resume from the store"
                )
            end, pod = _end_condition(job, self.done), self._first_pod()
            if job.get("spec", {}).get("suspend") and end is None:
                self._report(self._queued(job))
            elif pod is not None:
                self._report(_waiting(pod))
                self._print_log(pod, follow=end is None)
            if end is not None:
                return self._conclude(end, pod)
            time.sleep(self.pause)

    def _first_pod(self) -> Object | None:
        """Return the newest pod of the first machine; a lost pod is replaced by a new one."""
        metadata = self.job["metadata"]
        labels = {"app.kubernetes.io/instance": metadata["name"], _INDEX: "0"}
        pods = self.api.items("v1", "Pod", metadata["namespace"], labels)
        return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def _queued(self, job: Object) -> str:
        """Return why Kueue has not admitted the job."""
        metadata = job["metadata"]
        labels = {"kueue.x-k8s.io/job-uid": str(metadata.get("uid"))}
        for workload in self.api.items(*_WORKLOAD, metadata["namespace"], labels, optional=True):
            for condition in workload.get("status", {}).get("conditions") or []:
                if condition["type"] == "QuotaReserved" and condition["status"] != "True":
                    return f"queued by Kueue: {condition.get('message', '')}"
        return "queued: waiting for Kueue to admit it"

    def _report(self, line: str) -> None:
        if line and line not in self.reported:
            self.reported.add(line)
            print(f"  {line}", file=sys.stderr, flush=True)

    def _print_log(self, pod: Object, follow: bool) -> None:
        """Print the new lines of the pod's log; return when no more arrive."""
        state = _state(pod)
        if not ("running" in state or "terminated" in state):
            return
        key = str(pod["metadata"]["uid"])
        with contextlib.suppress(Silence):
            for line in self.api.log_lines(pod, CONTAINER, follow):
                when, _, text = line.partition(" ")
                if when > self.last_line_times.get(key, ""):
                    self.last_line_times[key] = when
                    print(text, flush=True)

    def _conclude(self, end: Object, pod: Object | None) -> None:
        """Return if *end* reports success.

        Raises:
            StepError: the job failed.
        """
        if end["type"] == self.done:
            return
        terminated = _state(pod).get("terminated") or {} if pod is not None else {}
        code, name = int(terminated.get("exitCode") or 0), self.job["metadata"]["name"]
        if code == _KILLED or terminated.get("reason") == "OOMKilled":
            raise StepError(
                f"{name}: the worker was killed (SIGKILL), most likely because it ran out of memory; raise "
                "launcher.limits.memory or set training.micro_batch_size=1; the same command resumes it"
            )
        message = str(terminated.get("message") or "").strip() if code else ""
        failure = StepError(message or f"{name}: {end.get('message') or end.get('reason') or 'it failed'}")
        failure.exit_code = code or failure.exit_code
        raise failure


def _state(pod: Object) -> dict[str, Any]:
    """Return the state of the worker's container; empty before it exists."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    state: dict[str, Any] = next((entry["state"] for entry in statuses if entry["name"] == CONTAINER), {})
    return state


def _waiting(pod: Object) -> str:
    """Return why a pod does not start; empty where it is only starting up."""
    waiting = _state(pod).get("waiting") or {}
    if waiting.get("reason") in _START_ERRORS:
        return f"{waiting['reason']}: {waiting.get('message', '')}"
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"not scheduled yet: {condition.get('message', '')}"
    return ""
