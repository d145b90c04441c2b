"""`run status` with Git only, and against a fake API server that answers GET requests."""

import copy
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from framework.core.release import LOCK
from framework.gitops.locks import lock_path

GOLDEN = Path(__file__).parents[1] / "golden" / "environments"
PLURALS = {"NetworkPolicy": "networkpolicies"}


class ApiServer(ThreadingHTTPServer):
    """Serves objects by path, and the kinds of each API version."""

    def __init__(self):
        self.answers, self.refuse = {}, 0
        super().__init__(("127.0.0.1", 0), Handler)

    def hold(self, item):
        version, kind, meta = item["apiVersion"], item["kind"], item["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = PLURALS.get(kind, f"{kind.lower()}s")
        kinds = self.answers.setdefault(root, {"kind": "APIResourceList", "resources": []})
        kinds["resources"] += [{"name": plural, "kind": kind}, {"name": f"{plural}/status", "kind": kind}]
        path = f"{root}/namespaces/{meta['namespace']}/{plural}/{meta['name']}"
        self.answers[path] = copy.deepcopy(item)
        return self.answers[path]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = self.server.answers.get(self.path)
        code = self.server.refuse or (200 if answer else 404)
        body = json.dumps(answer or {"kind": "Status", "code": code}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def no_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api(no_cluster, tmp_path, monkeypatch):
    server = ApiServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def rendered(gitops, clone):
    """A team's clone with one rendered and one unrendered lock in staging."""
    gitops.put(clone, gitops.release("one", "a"), "staging")
    gitops.verb(clone, "promote", "release=two", "from=dev", "to=staging", "push=direct")
    return clone


def objects(clone, folder):
    return [
        yaml.safe_load(file.read_text()) for file in sorted((clone / "environments" / folder).glob("*.yaml"))
    ]


def test_status_without_a_cluster_reports_stale_folders(gitops, rendered, no_cluster):
    done = gitops.verb(rendered, "status")
    assert done.returncode == 0, done.stderr
    output = done.stdout
    assert "staging/two\n  release     aaaaaaaaaaaa, recipe served, built from 0123456789ab" in output
    two = output[output.index("staging/two") :]
    assert "differs from a fresh render" not in two
    assert "Promote two to staging" in two
    one = output[output.index("staging/one") : output.index("staging/two")]
    assert "differs from a fresh render (app.json, " in one
    assert "  fix with    run render +recipe=served environment=staging name=one\n" in one
    assert max(map(len, one.splitlines())) <= 80
    assert "tuned.exact_match 0.75 (>= 0.5)" in two
    assert "KUBECONFIG" in output
    done = gitops.verb(rendered, "status", "check=true")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1
    assert gitops.verb(rendered, "status", "environment=staging", "release=two", "check=true").returncode == 0


def test_status_reports_edited_locks_and_missed_gates(gitops, rendered, no_cluster):
    file = rendered / "environments" / "dev" / "one" / LOCK
    file.write_text(file.read_text().replace("0.75", "0.95"))
    gitops.put(rendered, gitops.release("three", "b", exact_match=0.6), "production")
    output = gitops.verb(rendered, "status").stdout
    assert f"dev/one\n  problem     {lock_path('environments', 'dev', 'one')}: edited" in output
    assert "tuned.exact_match is 0.6" in output
    assert ">= 0.7" in output


def test_drift_is_reported_by_field(gitops, rendered, api):
    words = ("status", "environment=staging", "release=two")
    assert "staging/two: as in Git" not in gitops.verb(rendered, *words).stdout
    live = {item["kind"]: api.hold(item) for item in objects(rendered, "staging/two")}
    done = gitops.verb(rendered, *words, "check=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cluster http://127.0.0.1:{api.server_port}\n  staging/two: as in Git (" in done.stdout
    live["Service"]["spec"]["ports"][0]["port"] = 99
    workload = live.get("Rollout") or live["Deployment"]
    workload["spec"]["replicas"] = 9  # set by the autoscaler
    done = gitops.verb(rendered, *words, "check=true")
    assert "service/two spec.ports[http].port: Git has 80, the cluster 99" in done.stdout
    assert "replicas" not in done.stdout
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    gone = next(path for path in api.answers if path.endswith("/serviceaccounts/two"))
    del api.answers[gone]
    assert "serviceaccount/two " in gitops.verb(rendered, *words).stdout


def test_status_of_an_object_leads_to_its_release(gitops, rendered, no_cluster):
    done = gitops.verb(rendered, "status", "object=deployment/two")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines()[1:] if line[14:].strip())
    assert lines["release"] == f"two sha256:{'a' * 64}"
    assert lines["lock"] == "environments/staging/two/release.lock"
    assert lines["data"] == f"sha256:{'2' * 64}"
    assert lines["recipe"] == "served"
    assert lines["commit"] == "0123456789abcdef0123456789abcdef01234567"
    assert "exact_match=0.75" in lines["tuned"]
    assert done.stdout.index("  metrics\n") < done.stdout.index("    tuned ") < done.stdout.index("  gates ")
    assert lines["gates"] == "tuned.exact_match >= 0.5"
    assert "base model  random Llama, 2 layers, seed 0 (Apache-2.0)" in done.stdout
    nowhere = gitops.refused(rendered, "status", "object=pod/x")
    assert "object=pod/x: " in nowhere
    assert "KUBECONFIG" in nowhere
    gitops.verb(rendered, "promote", "release=two", "from=staging", "to=production", "push=direct")
    error = gitops.refused(rendered, "status", "object=service/two")
    assert "production, staging" in error
    assert "environment=" in error


@pytest.mark.slow
def test_origin_of_a_pod_on_an_earlier_release_is_found(gitops, rendered, api):
    service = next(item for item in objects(rendered, "staging/two") if item["kind"] == "Service")
    pod = {**service, "kind": "Pod", "metadata": {**service["metadata"], "name": "two-7f-x"}}
    api.hold(copy.deepcopy(pod))
    gitops.put(rendered, gitops.release("two", "b"))
    done = gitops.verb(rendered, "promote", "release=two", "from=dev", "to=staging", "push=direct")
    assert done.returncode == 0, done.stderr
    done = gitops.verb(rendered, "status", "object=pod/two-7f-x", "environment=staging")
    assert done.returncode == 0, done.stderr
    assert f"release     two sha256:{'a' * 64}" in done.stdout


def test_foreign_files_are_skipped_and_broken_ones_reported(gitops, rendered, api):
    folder = rendered / "environments" / "staging" / "two"
    (folder / "own.yaml").write_text("kind: Kustomization\n")  # not written by Gitune
    words = ("status", "environment=staging", "release=two")
    assert gitops.verb(rendered, *words).returncode == 0
    file = folder / "deployment-two.yaml"
    file.write_text(file.read_text().replace("metadata:", "metadata: ["))
    error = gitops.verb(rendered, *words, "object=deployment/two").stderr
    assert error.startswith(f"{file.relative_to(rendered)}: ")
    assert error.count("\n") == 1


def test_unreachable_or_refusing_api_server_is_a_one_line_error(gitops, rendered, api):
    api.refuse = 403
    done = gitops.verb(rendered, "status", "release=two")
    assert done.returncode == 1
    assert "staging/two" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "403" in done.stderr
    config = Path(os.environ["KUBECONFIG"])
    config.write_text(config.read_text().replace(str(api.server_port), "9"))
    done = gitops.verb(rendered, "status", "release=two")
    assert "http://127.0.0.1:9: " in done.stderr
    assert done.stderr.count("\n") == 1
    config.write_text("no: config")
    done = gitops.verb(rendered, "status", "release=two")
    assert done.stderr.startswith("KUBECONFIG: ")


@pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster for a dry run")
@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("*/*")), ids=lambda folder: "/".join(folder.parts[-2:]))
def test_real_api_server_accepts_the_manifests(folder):
    """A server-side dry run in the namespace ``default`` rejects unknown fields."""
    from framework.gitops.live_objects import Cluster

    api = Cluster.chosen("").api
    items = [yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")]
    for item in (item for item in items if "apiVersion" in item):
        item["metadata"]["namespace"] = "default"
        query = {
            "dryRun": "All",
            "fieldManager": "gitune-test",
            "fieldValidation": "Strict",
            "force": "true",
        }
        api.connection.call(
            "PATCH", api.path(item), body=item, query=query, kind="application/apply-patch+yaml"
        )
