"""A small API server on this machine: it stores objects and runs a script in place of a controller."""

import copy
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from framework.build.launcher import follow_job

Object = dict[str, Any]
KINDS = {
    "/api/v1": {"ConfigMap": "configmaps", "Pod": "pods"},
    "/apis/kueue.x-k8s.io/v1beta2": {"Workload": "workloads"},
    "/apis/networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "/apis/jobset.x-k8s.io/v1alpha2": {"JobSet": "jobsets"},
    "/apis/trainer.kubeflow.org/v1alpha1": {"TrainJob": "trainjobs", "TrainingRuntime": "trainingruntimes"},
}
"""Kinds that the server knows: the plural of each, by API version."""


class Cluster:
    """State of the server, and the requests it received."""

    def __init__(self) -> None:
        self.kinds = dict(KINDS)
        self.objects: dict[str, Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Object] = []
        self.logs: dict[str, list[str]] = {}
        self.refusals: dict[tuple[str, str], tuple[int, str]] = {}
        """Error status and message by method and end of the path."""
        self.script: list[Callable[[], None]] = []
        """Actions; one runs each time the job is read."""
        self.faults: list[str] = []
        """Exceptions inside the server."""
        self.url = ""
        self.job = ""
        """The path of the first job that was created."""

    @property
    def status(self) -> Object:
        return self.objects[self.job].setdefault("status", {})

    def pod(self, name: str, state: Object, created: str = "2026-01-01T00:00:00Z", **status: Any) -> None:
        """Create a pod of the job's first machine, or change its state."""
        job = self.objects[self.job]["metadata"]
        labels = {"app.kubernetes.io/instance": job["name"], "batch.kubernetes.io/job-completion-index": "0"}
        metadata = {"name": name, "namespace": job["namespace"], "uid": f"uid-{name}", "labels": labels}
        container = {"name": "node", "state": state}
        body = {
            "metadata": {**metadata, "creationTimestamp": created},
            "status": {"containerStatuses": [container] if state else [], **status},
        }
        self.objects[f"/api/v1/namespaces/{job['namespace']}/pods/{name}"] = body

    def log(self, pod: str, *lines: str) -> None:
        """Append lines to the pod's log, with increasing timestamps."""
        entries = self.logs.setdefault(pod, [])
        for line in lines:
            entries.append(f"2026-01-01T00:00:{len(entries):02d}.000000000Z {line}")

    def finish(self, kind: str, message: str = "") -> None:
        self.status["conditions"] = [{"type": kind, "status": "True", "message": message}]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def cluster(self) -> Cluster:
        cluster: Cluster = self.server.cluster  # type: ignore[attr-defined]
        return cluster

    def log_message(self, *words: object) -> None:
        pass

    def answer(self, code: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, code: int, message: str) -> None:
        self.answer(code, {"kind": "Status", "message": message, "code": code})

    def handle_any(self) -> None:
        cluster, url = self.cluster, urlsplit(self.path)
        path, query = url.path, {key: values[0] for key, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        cluster.asked.append((self.command, path))
        for (method, end), (code, message) in cluster.refusals.items():
            if method == self.command and path.endswith(end):
                return self.refuse(code, message)
        try:
            getattr(self, f"on_{self.command.lower()}")(path, query, body)
        except ConnectionError:  # the client is gone
            self.close_connection = True
        except Exception:
            cluster.faults.append(traceback.format_exc())
            self.refuse(418, "the test's own server failed")

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any

    def on_post(self, path: str, query: dict[str, str], body: Object) -> None:
        item_path = f"{path}/{body['metadata']['name']}"
        if item_path in self.cluster.objects:
            return self.refuse(409, f"{body['metadata']['name']} already exists")
        self.cluster.bodies.append(copy.deepcopy(body))
        self.cluster.objects[item_path] = body
        body["metadata"]["uid"] = f"uid-{len(self.cluster.bodies)}"
        if body["kind"] in ("TrainJob", "JobSet") and not self.cluster.job:
            self.cluster.job = item_path
        return self.answer(201, body)

    def on_patch(self, path: str, query: dict[str, str], body: Object) -> None:
        if path not in self.cluster.objects:
            return self.refuse(404, "not found")
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        self.cluster.objects[path]["metadata"] |= body["metadata"]
        return self.answer(200, self.cluster.objects[path])

    def on_delete(self, path: str, query: dict[str, str], body: Object) -> None:
        item = self.cluster.objects.pop(path, None)
        return self.answer(200, item) if item else self.refuse(404, "not found")

    def on_get(self, path: str, query: dict[str, str], body: Object) -> None:
        cluster = self.cluster
        if path in cluster.kinds:
            kinds = cluster.kinds[path].items()
            resources = [{"name": plural, "kind": kind} for kind, plural in kinds]
            return self.answer(200, {"kind": "APIResourceList", "resources": resources})
        if path.endswith("/log"):
            assert query["timestamps"] == "true"
            return self.answer(
                200, "".join(f"{line}\n" for line in cluster.logs.get(path.split("/")[-2], []))
            )
        if path == cluster.job and cluster.job in cluster.objects and cluster.script:
            cluster.script.pop(0)()
        if path in cluster.objects:
            return self.answer(200, cluster.objects[path])
        inside = [item for item_path, item in cluster.objects.items() if item_path.rpartition("/")[0] == path]
        if path.endswith(("/pods", "/workloads")):
            wanted = dict(pair.split("=") for pair in query["labelSelector"].split(","))
            items = [item for item in inside if wanted.items() <= item["metadata"]["labels"].items()]
            return self.answer(200, {"items": items})
        return self.refuse(404, "not found")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A server, and a kubeconfig for it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Cluster()
    server.cluster = state  # type: ignore[attr-defined]
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": state.url}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(follow_job, "OUTAGE_SECONDS", 10.0)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
    assert state.faults == []
