"""A submitted job of a cluster: print its log, wait for its end, or delete it.

The same command again follows a job that runs. A job that failed is replaced, and resumes from the store.
Knows pods and conditions; does not know what the objects run.
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
from framework.manifests.identity import Object
from framework.manifests.kubernetes_api import Api, Silence

_INDEX = "batch.kubernetes.io/job-completion-index"
_WORKLOADS = "/apis/kueue.x-k8s.io/v1beta2/namespaces/{}/workloads"
_BAD_WAITS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
_KILLED = 128 + signal.SIGKILL


@contextlib.contextmanager
def _interruptible(job: Object, command: str) -> Iterator[None]:
    """Raise ``Interrupted`` on a signal, which leaves the job running."""
    name, kind = job["metadata"]["name"], job["kind"]

    def stop(number: int, frame: object) -> NoReturn:
        end = f"kubectl delete {kind.lower()} -n {job['metadata']['namespace']} {name}"
        still = f"{kind} {name} keeps running in the cluster. Follow it again with the same command"
        raise Interrupted(number, f"{still}:\n  {command}\nTo end it:\n  {end}")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _submit(api: Api, objects: Sequence[Object], done: str) -> None:
    *parts, job = objects
    where = f"{job['kind']} {job['metadata']['namespace']}/{job['metadata']['name']}"
    there = api.get(job)
    if there is not None and _ended(there, done) is not None:
        print(f"{where} has ended without a release; starting it again", flush=True)
        api.delete(job)
        there = None
    if there is None:
        for part in parts:
            if api.create(part) is None:  # left by a deleted job; its content may differ
                api.delete(part)
                api.create(part)
        there = api.create(job)
        print(f"Submitted {where}; Ctrl-C leaves it running.", flush=True)
    else:
        print(f"{where} is there already; following it. Ctrl-C leaves it running.", flush=True)
    owner = there or api.get(job)
    for part in parts:
        if owner is not None:
            api.adopt(part, owner)


def _ended(job: Object, done: str) -> Object | None:
    """Return the condition that says the job has ended, or None."""
    conditions = job.get("status", {}).get("conditions") or []
    ends = [item for item in conditions if item["type"] in (done, "Failed") and item["status"] == "True"]
    return ends[0] if ends else None


class JobRun(Run):
    """A job in a cluster, submitted unless it is already there.

    SIGINT and SIGTERM leave it running: hours of work should not depend on a terminal.
    """

    def __init__(
        self,
        objects: Sequence[Object],
        done: str,
        context: str | None,
        command: str,
        read_release: Callable[[], Built],
        pause: float = 3.0,
    ) -> None:
        """Submit the job.

        Args:
            objects: what the job needs, and the job itself as the last.
            done: the job's condition for a good end.
            context: the kubeconfig's context.
            command: the command as it was typed.
            read_release: returns the release that the job published.
            pause: seconds between two looks at the job.

        Raises:
            ClusterError: the API server refuses or does not answer.
        """
        self._job, self._done, self._command, self._pause = objects[-1], done, command, pause
        self._read_release = read_release
        self._pods = f"/api/v1/namespaces/{self._job['metadata']['namespace']}/pods"
        self._printed: set[str] = set()
        self._last_times: dict[str, str] = {}
        """The time of the last log line that was printed, by the pod's uid."""
        with _interruptible(self._job, command):
            self._api = Api(context)
            _submit(self._api, objects, done)

    def follow(self) -> None:
        """Print the first machine's log, and why the job waits; see the base class."""
        with _interruptible(self._job, self._command):
            self._until_end(print_log=True)

    def wait(self) -> Built:
        """Return the release, or raise with the worker's own message and exit code; see the base class."""
        with _interruptible(self._job, self._command):
            end = self._until_end(print_log=False)
        if end["type"] != self._done:
            raise self._failure(end)
        return self._read_release()

    def cancel(self) -> None:
        """Delete the job; the store's volume stays."""
        self._api.delete(self._job)

    def _until_end(self, print_log: bool) -> Object:
        """Look at the job until it has ended; return the condition that says so.

        Raises:
            ClusterError: the job was deleted.
        """
        while True:
            job = self._api.get(self._job)
            if job is None:
                raise ClusterError(
                    f"{self._job['kind']} {self._job['metadata']['name']}: deleted while it was followed; "
                    "run the same command to resume from what the store has"
                )
            end, pod = _ended(job, self._done), self._first_pod() if print_log else None
            if print_log and job.get("spec", {}).get("suspend") and end is None:
                self._report(self._queued(job))
            elif pod is not None:
                self._report(_waiting(pod))
                self._print_log(pod, follow=end is None)
            if end is not None:
                return end
            time.sleep(self._pause)

    def _first_pod(self) -> Object | None:
        """Return the newest pod of the first machine; a lost pod is replaced by another."""
        name = self._job["metadata"]["name"]
        pods = self._api.listed(self._pods, f"app.kubernetes.io/instance={name},{_INDEX}=0")
        for pod in pods:  # lists leave these two out
            pod |= {"apiVersion": "v1", "kind": "Pod"}
        return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def _queued(self, job: Object) -> str:
        """Return why Kueue does not admit the job yet."""
        uid, namespace = job["metadata"].get("uid"), self._job["metadata"]["namespace"]
        path, label = _WORKLOADS.format(namespace), f"kueue.x-k8s.io/job-uid={uid}"
        workloads = self._api.listed(path, label, optional=True)
        for workload in workloads:
            for condition in workload.get("status", {}).get("conditions") or []:
                if condition["type"] == "QuotaReserved" and condition["status"] != "True":
                    return f"queued by Kueue: {condition.get('message', '')}"
        return "queued: waiting for Kueue to admit it"

    def _report(self, line: str) -> None:
        if line and line not in self._printed:
            self._printed.add(line)
            print(f"  {line}", file=sys.stderr, flush=True)

    def _print_log(self, pod: Object, follow: bool) -> None:
        """Print the pod's new log lines; return when no more arrive."""
        state = _state(pod)
        if not ("running" in state or "terminated" in state):
            return
        key = str(pod["metadata"]["uid"])
        with contextlib.suppress(Silence):
            for line in self._api.lines(pod, CONTAINER, follow):
                when, _, text = line.partition(" ")
                if when > self._last_times.get(key, ""):
                    self._last_times[key] = when
                    print(text, flush=True)

    def _failure(self, end: Object) -> StepError:
        """Return the error that says why the job failed."""
        pod = self._first_pod()
        terminated = _state(pod).get("terminated") or {} if pod is not None else {}
        code, name = int(terminated.get("exitCode") or 0), self._job["metadata"]["name"]
        if code == _KILLED or terminated.get("reason") == "OOMKilled":
            return StepError(
                f"{name}: the worker was ended by SIGKILL, probably out of memory: raise "
                "launcher.limits.memory, or set training.micro_batch_size=1, then run the same command"
            )
        message = str(terminated.get("message") or "").strip() if code else ""
        failure = StepError(message or f"{name}: {end.get('message') or end.get('reason') or 'it failed'}")
        failure.exit_code = code or failure.exit_code
        return failure


def _state(pod: Object) -> dict[str, Any]:
    """Return the state of the worker's container; empty if it has none yet."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    states = (status["state"] for status in statuses if status["name"] == CONTAINER)
    return next(states, {})


def _waiting(pod: Object) -> str:
    """Return what keeps a pod from starting, if it will not pass in a moment."""
    waits = _state(pod).get("waiting") or {}
    if waits.get("reason") in _BAD_WAITS:
        return f"{waits['reason']}: {waits.get('message', '')}"
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no machine has room yet: {condition.get('message', '')}"
    return ""
