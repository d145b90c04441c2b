"""A submitted job of a cluster: print its log, wait for its end, or delete it.

A job that already runs is followed. A job that failed is replaced and resumes from the store.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from framework.build.launcher import Built, Interrupted, Run
from framework.build.launcher.worker_pod import CONTAINER
from framework.core.errors import ClusterError, StepError
from framework.core.signals import handling_signals
from framework.manifests.api_connection import ApiConnection, Remedies
from framework.manifests.identity import Object
from framework.manifests.kubernetes_api import KubernetesApi, Silence

_INDEX = "batch.kubernetes.io/job-completion-index"
_WORKLOAD = ("kueue.x-k8s.io/v1beta2", "Workload")
OUTAGE_SECONDS = 300.0
"""How long a request is repeated while the API server does not answer."""
_REMEDIES = Remedies(
    connect="set KUBECONFIG or launcher.context=<name>, or only write the job with launcher.dry_run=true",
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


@contextlib.contextmanager
def _interruptible(job: Object, command: str) -> Iterator[None]:
    """Keep the job running when a signal ends this process."""
    name, kind = job["metadata"]["name"], job["kind"]

    def stop(number: int) -> NoReturn:
        delete = f"kubectl delete {kind.lower()} -n {job['metadata']['namespace']} {name}"
        running = f"{kind} {name} keeps running in the cluster. The same command follows it again"
        raise Interrupted(number, f"{running}:\n  {command}\nTo delete it:\n  {delete}")

    with handling_signals(stop):
        yield


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


class JobRun(Run):
    """A job in a cluster. SIGINT and SIGTERM keep it running: it must not depend on a terminal."""

    def __init__(
        self,
        objects: Sequence[Object],
        done: str,
        context: str | None,
        command: str,
        read_release: Callable[[], Built],
        pause: float = 3.0,
    ) -> None:
        """Submit the job unless it runs.

        Args:
            objects: the objects that the job refers to, and the job last.
            done: the job's condition that reports success.
            context: the kubeconfig's context.
            command: the user's command line.
            read_release: returns the release that the job published.
            pause: seconds between two polls of the job.

        Raises:
            ClusterError: the API server refuses or cannot be reached.
        """
        self._job, self._done, self._command, self._pause = objects[-1], done, command, pause
        self._read_release = read_release
        self._reported: set[str] = set()
        self._last_line_times: dict[str, str] = {}
        """Timestamp of the last printed log line, by the pod's UID."""
        self._end: Object | None = None
        """The condition that ended the job, once it is known; the job itself may be gone by then."""
        with _interruptible(self._job, command):
            self._api = KubernetesApi(ApiConnection(context, _REMEDIES, OUTAGE_SECONDS))
            _submit(self._api, objects, done)

    def follow(self) -> None:
        """Print the first machine's log, and why the job waits; see the base class."""
        with _interruptible(self._job, self._command):
            self._until_end(print_log=True)

    def wait(self) -> Built:
        """Return the release; a failure carries the worker's message and exit code. See the base class."""
        with _interruptible(self._job, self._command):
            end = self._until_end(print_log=False)
            if end["type"] != self._done:
                raise self._failure(end)
        return self._read_release()

    def cancel(self) -> None:
        """Delete the job unless it has ended; the store's volume stays."""
        job = self._api.get(self._job)
        if self._end is None and job is not None and _end_condition(job, self._done) is None:
            self._api.delete(self._job)

    def _until_end(self, print_log: bool) -> Object:
        """Poll the job until it has ended; return the condition that ended it.

        Raises:
            ClusterError: the job was deleted.
        """
        while self._end is None:
            job = self._api.get(self._job)
            if job is None:
                raise ClusterError(
                    f"{self._job['kind']} {self._job['metadata']['name']}: deleted while it was followed; "
                    "run the same command again to resume from the store"
                )
            end = _end_condition(job, self._done)
            if print_log:
                self._print_progress(job, is_running=end is None)
            if end is None:
                time.sleep(self._pause)
            self._end = end
        return self._end

    def _print_progress(self, job: Object, is_running: bool) -> None:
        pod = self._first_pod()
        if job.get("spec", {}).get("suspend") and is_running:
            self._report(self._queued(job))
        elif pod is not None:
            self._report(_waiting(pod))
            self._print_log(pod, follow=is_running)

    def _first_pod(self) -> Object | None:
        """Return the newest pod of the first machine; a lost pod is replaced by a new one."""
        metadata = self._job["metadata"]
        labels = {"app.kubernetes.io/instance": metadata["name"], _INDEX: "0"}
        pods = self._api.items("v1", "Pod", metadata["namespace"], labels)
        return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def _queued(self, job: Object) -> str:
        """Return why Kueue has not admitted the job."""
        metadata = job["metadata"]
        labels = {"kueue.x-k8s.io/job-uid": str(metadata.get("uid"))}
        for workload in self._api.items(*_WORKLOAD, metadata["namespace"], labels, optional=True):
            for condition in workload.get("status", {}).get("conditions") or []:
                if condition["type"] == "QuotaReserved" and condition["status"] != "True":
                    return f"queued by Kueue: {condition.get('message', '')}"
        return "queued: waiting for Kueue to admit it"

    def _report(self, line: str) -> None:
        if line and line not in self._reported:
            self._reported.add(line)
            print(f"  {line}", file=sys.stderr, flush=True)

    def _print_log(self, pod: Object, follow: bool) -> None:
        """Print the new lines of the pod's log; return when no more arrive."""
        state = _state(pod)
        if not ("running" in state or "terminated" in state):
            return
        key = str(pod["metadata"]["uid"])
        with contextlib.suppress(Silence):
            for line in self._api.log_lines(pod, CONTAINER, follow):
                when, _, text = line.partition(" ")
                if when > self._last_line_times.get(key, ""):
                    self._last_line_times[key] = when
                    print(text, flush=True)

    def _failure(self, end: Object) -> StepError:
        """Return the error of a job that ended by *end*."""
        pod = self._first_pod()
        terminated = _state(pod).get("terminated") or {} if pod is not None else {}
        code, name = int(terminated.get("exitCode") or 0), self._job["metadata"]["name"]
        if code == _KILLED or terminated.get("reason") == "OOMKilled":
            return StepError(
                f"{name}: the worker was killed (SIGKILL), probably out of memory; raise "
                "launcher.limits.memory or set training.micro_batch_size=1; the same command resumes it"
            )
        message = str(terminated.get("message") or "").strip() if code else ""
        failure = StepError(message or f"{name}: {end.get('message') or end.get('reason') or 'it failed'}")
        failure.exit_code = code or failure.exit_code
        return failure


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
