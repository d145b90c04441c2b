"""`run status` with Git only, and against a fake API server that answers GET requests."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from api_server import changed
from fake_api_server import ALL, running

from framework.core.release import LOCK
from framework.gitops.live_objects import Cluster
from framework.gitops.locks import lock_path

GOLDEN = Path(__file__).parents[1] / "golden" / "environments"
APPLY = "application/apply-patch+yaml"


@pytest.fixture
def no_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api(no_cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with running(tmp_path / "kubeconfig") as server:
        yield server


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
    assert (
        f"staging/two\n  release     aaaaaaaaaaaa, recipe served, built from {gitops.commit[:12]}" in output
    )
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
    brief = gitops.verb(rendered, "status", "environment=staging", "show=problems").stdout
    assert brief.startswith(one)
    assert "staging/two" not in brief
    assert "\nreleases with problems in Git: 1 of 2\n" in brief


def test_status_reports_edited_locks_and_missed_gates(gitops, rendered, no_cluster):
    file = rendered / "environments" / "dev" / "one" / LOCK
    file.write_text(file.read_text().replace("0.75", "0.95"))
    gitops.put(rendered, gitops.release("three", "b", exact_match=0.6), "production")
    output = gitops.verb(rendered, "status").stdout
    assert f"dev/one\n  problem     {lock_path('environments', 'dev', 'one')}: edited" in output
    assert "tuned.exact_match is 0.6" in output
    assert ">= 0.7" in output


def test_folder_with_the_lock_of_another_release_is_broken(gitops, clone, no_cluster):
    shutil.copytree(clone / "environments" / "dev" / "one", clone / "environments" / "dev" / "other")
    done = gitops.verb(clone, "status", "environment=dev", "release=other")
    assert "environments/dev/other/release.lock" in done.stdout
    assert "the lock of 'one'" in done.stdout
    assert gitops.verb(clone, "status", "environment=dev", "check=true").returncode == 1


def test_drift_is_reported_by_field(gitops, rendered, api):
    words = ("status", "environment=staging", "release=two")
    assert "staging/two: as in Git" not in gitops.verb(rendered, *words).stdout
    live = {item["kind"]: api.hold(item) for item in objects(rendered, "staging/two")}
    done = gitops.verb(rendered, *words, "check=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cluster http://127.0.0.1:{api.server_port}\n  staging/two: as in Git (" in done.stdout
    edited = changed(live["Service"], "kubectl-edit", lambda item: item["spec"]["ports"][0].update(port=99))
    assert edited["spec"]["ports"][0]["port"] == 99
    autoscaled = ("kube-controller-manager", lambda item: item["spec"].update(replicas=9), "scale")
    changed(live["Deployment"], *autoscaled)
    done = gitops.verb(rendered, *words, "check=true")
    assert "service/two spec.ports[http].port: Git has 80, the cluster 99, set by kubectl-edit" in done.stdout
    assert "replicas" not in done.stdout
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    brief = gitops.verb(rendered, *words, "show=problems").stdout
    assert "staging/two: differs (" in brief
    changed(live["Service"], "argocd-controller", lambda item: item["spec"]["ports"][0].update(port=80))
    assert "staging/two" not in gitops.verb(rendered, *words, "show=problems").stdout
    gone = next(path for path in api.answers if path.endswith("/serviceaccounts/two"))
    del api.answers[gone]
    assert "serviceaccount/two " in gitops.verb(rendered, *words).stdout


def test_shared_objects_are_compared_and_known_controllers_are_not_reported(gitops, clone, api):
    recipe = clone / "recipes" / "served.yaml"
    text = recipe.read_text().replace("defaults:", "defaults:\n  - override /secrets: external-secret")
    text = text.replace("deployment: {", "secrets: {store: vault}\ndeployment: {store_secret: keys, ")
    recipe.write_text(text)
    option = clone / "conf" / "environment" / "staging.yaml"
    known = "controllers: {Reloader: [.spec.template.metadata.annotations]}\n"
    option.write_text(option.read_text().replace("controllers: {}\n", known))
    gitops.git(clone, "commit", "-qam", "Secrets and a controller")
    gitops.verb(clone, "promote", "release=two", "from=dev", "to=staging", "push=direct")
    live = {
        item["kind"]: api.hold(item)
        for folder in ("staging/two", "staging/shared")
        for item in objects(clone, folder)
    }
    words = ("status", "environment=staging", "check=true")

    def annotate(item):
        item["spec"]["template"]["metadata"]["annotations"]["reloader.stakater.com/last"] = "x"

    changed(live["Deployment"], "Reloader", annotate)
    done = gitops.verb(clone, *words)
    assert done.returncode == 0, done.stdout
    assert "staging/shared: as in Git (1 objects)" in done.stdout
    changed(live["ExternalSecret"], "kubectl-edit", lambda item: item["spec"].update(refreshInterval="9h"))
    done = gitops.verb(clone, *words)
    assert done.returncode == 1
    assert "externalsecret/keys spec.refreshInterval: Git has " in done.stdout


def test_foreign_objects_with_the_labels_of_a_release_are_reported(gitops, rendered, api):
    words = ("status", "environment=staging", "release=two", "check=true")
    live = {item["kind"]: api.hold(item) for item in objects(rendered, "staging/two")}
    deployment = live["Deployment"]

    def made(kind, name, owner=None):
        """Return an object with the release's labels, made by a controller if it has an owner."""
        body = {key: value for key, value in deployment.items() if key in ("spec",)}
        metadata = {key: deployment["metadata"][key] for key in ("labels", "namespace")} | {"name": name}
        if owner:
            reference = {"kind": owner[0], "name": owner[1], "controller": True, "uid": owner[1]}
            metadata["ownerReferences"] = [reference]
        version = ALL[kind].version
        item = api.hold({"apiVersion": version, "kind": kind, "metadata": metadata, **body})
        for entry in item["metadata"]["managedFields"]:
            entry["manager"] = "kubectl-create"

    made("ReplicaSet", "two-1", ("Deployment", "two"))
    made("Pod", "two-1-a", ("ReplicaSet", "two-1"))
    made("StatefulSet", "two-predictor", ("InferenceService", "two"))  # of a controller with an unknown owner
    done = gitops.verb(rendered, *words)
    assert "statefulset/two-predictor is not in Git" in done.stdout
    assert done.stdout.count("is not in Git") == 1
    made("Deployment", "evil")
    made("ReplicaSet", "evil-1", ("Deployment", "evil"))
    made("Pod", "lone")
    made(
        "ReplicaSet", "hidden-1", ("Deployment", "hidden")
    )  # its Deployment lacks the labels, its pods do not
    done = gitops.verb(rendered, *words)
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines() if "is not in Git" in line]
    assert {line.partition(" ")[0] for line in lines} == {
        "deployment/evil",
        "pod/lone",
        "replicaset/hidden-1",
        "statefulset/two-predictor",
    }
    assert any(line.startswith("deployment/evil ") and "kubectl-create" in line for line in lines)
    assert any("deployment/hidden" in line for line in lines)
    cluster, before = Cluster.chosen(""), len(api.requests)
    listed = [cluster.labeled("gitune-staging") for _ in range(2)]  # one release after another
    assert listed[0] == listed[1]
    assert len({*api.requests[before:]}) == len(api.requests[before:])


@pytest.mark.parametrize("place", ["production/evil", "production/evil/deeper", "dev/one/deeper", "dev/x"])
def test_folder_that_argo_cd_syncs_without_a_lock_is_reported(gitops, clone, no_cluster, place):
    folder = clone / "environments" / place
    folder.mkdir(parents=True)
    (folder / "app.json").write_text('{"environment": "production", "name": "x", "namespace": "y"}')
    (folder / "deployment.yaml").write_text("kind: Deployment\n")
    environment, name, *_ = place.split("/")
    words = ("status", f"environment={environment}", f"release={name}")
    assert gitops.verb(clone, *words).returncode == 0
    done = gitops.verb(clone, *words, "check=true")
    assert done.returncode == 1
    report = done.stdout[done.stdout.index(f"{place}\n") :]
    assert report.splitlines()[1].startswith("  problem     Argo CD syncs this folder")
    assert "app.json, deployment.yaml" in report.splitlines()[1]
    assert f"{place}\n" not in gitops.verb(clone, "status", "environment=staging").stdout


def test_files_that_no_lock_renders_are_reported(gitops, rendered, no_cluster):
    folder = rendered / "environments" / "staging" / "two"
    words = ("status", "environment=staging", "release=two", "check=true")
    (folder / "notes.md").write_text("Argo CD reads *.yaml only.")
    assert gitops.verb(rendered, *words).returncode == 0
    for name in ("own.yaml", ".argocd-source.yaml"):
        (folder / name).write_text("kind: ConfigMap\n")
        done = gitops.verb(rendered, *words)
        assert done.returncode == 1
        assert f"{name}: Argo CD syncs it" in done.stdout
    (folder / LOCK).unlink()
    done = gitops.verb(rendered, *words)
    assert done.returncode == 1
    assert "deployment-two.yaml" in done.stdout


def test_status_of_an_object_leads_to_its_release(gitops, rendered, no_cluster):
    done = gitops.verb(rendered, "status", "object=deployment/two")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines()[1:] if line[14:].strip())
    assert lines["release"] == f"two sha256:{'a' * 64}"
    assert lines["lock"] == "environments/staging/two/release.lock"
    assert lines["data"] == f"sha256:{'2' * 64}"
    assert lines["recipe"] == "served"
    assert lines["commit"] == gitops.commit
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
    api.hold(pod)
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
    done = gitops.verb(rendered, "status", "environment=staging", "check=true")  # the others are compared
    assert done.returncode == 1
    assert f"staging/two: not compared\n    {file.relative_to(rendered)}: " in done.stdout
    assert "  staging/one: as in Git (0 objects)" in done.stdout


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
