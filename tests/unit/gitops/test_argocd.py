"""The objects of `run argocd` allow the rendered kinds, and nothing else."""

import re
import subprocess
from pathlib import Path

import kubernetes_judge
import pytest
import yaml

from framework.core.errors import FrameworkError
from framework.gitops.argocd import HEADER, argocd, environments, render_files
from framework.gitops.managed_fields import KINDS, WORKLOADS

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "environments" / "argocd"
RENDERED = [
    *(ROOT / "tests/golden/environments").glob("*/*/*.yaml"),
    *(file for file in (ROOT / "environments").glob("*/*/*.yaml") if not file.is_relative_to(COMMITTED)),
]


def committed():
    return {file.name: yaml.safe_load(file.read_text()) for file in COMMITTED.glob("*.yaml")}


@pytest.fixture(params=["dev", "production"])
def application_set(request):
    return committed()[f"applicationset-gitune-{request.param}.yaml"]["spec"]


def test_committed_files_match_the_command(tmp_path, monkeypatch):
    (tmp_path / "environments" / "argocd").mkdir(parents=True)
    stale = tmp_path / "environments" / "argocd" / "namespace-old.yaml"
    stale.write_text(f"{HEADER}a: 1\n")
    own = stale.with_name("own.yaml")
    own.write_text("a: 1\n")
    monkeypatch.chdir(tmp_path)
    git = committed()["applicationset-gitune-dev.yaml"]["spec"]["generators"][0]["git"]
    argocd([f"repo={git['repoURL']}"])
    written = {file.name: file.read_text() for file in stale.parent.glob("*.yaml")}
    assert written.pop("own.yaml") == "a: 1\n"
    assert written == {file.name: file.read_text() for file in COMMITTED.glob("*.yaml")}


def test_local_path_is_rejected_and_token_is_not_committed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "remote", "add", "origin", "../remote.git"], check=True)
    with pytest.raises(FrameworkError, match=r"'\.\./remote\.git' is a local path; set repo="):
        argocd([])
    assert not (tmp_path / "environments").exists()
    origin = "https://me:hidden@git.example.org/models.git"
    subprocess.run(["git", "remote", "set-url", "origin", origin], check=True)
    argocd([])
    written = (tmp_path / "environments" / "argocd" / "applicationset-gitune-dev.yaml").read_text()
    assert "hidden" not in written
    assert "https://git.example.org/models.git" in written
    argocd(["repo=git@git.example.org:models.git"])


@pytest.mark.parametrize("link", ["environments", "environments/argocd"])
def test_files_behind_a_link_are_neither_written_nor_removed(tmp_path, monkeypatch, link):
    (tmp_path / "elsewhere" / "argocd").mkdir(parents=True)
    old = tmp_path / "elsewhere" / ("argocd" if link == "environments" else "") / "namespace-old.yaml"
    old.write_text(f"{HEADER}a: 1\n")
    folder = tmp_path / link
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FrameworkError, match=f"^{link}: a link"):
        argocd(["repo=https://git.example.org/models.git"])
    assert old.is_file()
    assert not [file for file in old.parent.iterdir() if file.is_file() and file != old]


def test_committed_files_pass_the_schema_check():
    count, problems = kubernetes_judge.judge(COMMITTED)
    assert (count > 20, problems) == (True, [])


def test_namespace_denies_all_traffic_by_default():
    for place in environments():
        (policy,) = (
            item
            for item in committed().values()
            if item["kind"] == "NetworkPolicy" and item["metadata"]["namespace"] == place.namespace
        )
        assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_project_allows_rendered_kinds_in_its_namespace_only():
    files = committed()
    assert RENDERED
    for file in RENDERED:
        item = yaml.safe_load(file.read_text())
        if "apiVersion" not in item:
            continue
        project = files[f"appproject-gitune-{file.parts[-3]}.yaml"]["spec"]
        group = item["apiVersion"].rpartition("/")[0]
        assert {"group": group, "kind": item["kind"]} in project["namespaceResourceWhitelist"], file
        assert [place["namespace"] for place in project["destinations"]] == [item["metadata"]["namespace"]]
        assert project["clusterResourceWhitelist"] == []
        assert "*" not in str(project)


def test_generated_objects_are_not_orphans():
    files = committed()
    for place in environments():
        ignored = files[f"appproject-gitune-{place.name}.yaml"]["spec"]["orphanedResources"]["ignore"]
        named = {(each["group"], each["kind"], each.get("name")) for each in ignored}
        for item in files.values():
            if item["metadata"].get("namespace") == place.namespace:
                group = item["apiVersion"].rpartition("/")[0]
                assert (group, item["kind"], item["metadata"]["name"]) in named
        assert not {kind for _, kind, _ in named} & {"Deployment", "Rollout", "Service"}


def test_application_uses_the_fields_of_app_json(application_set):
    made = str(application_set["template"])
    given = {"environment", "name", "namespace", "path"}
    assert set(re.findall(r"\{\{ \.(\w+)", made)) <= given
    assert application_set["goTemplateOptions"] == ["missingkey=error"]
    git = application_set["generators"][0]["git"]
    sets = [item for item in committed().values() if item["kind"] == "ApplicationSet"]
    paths = [item["spec"]["generators"][0]["git"]["files"][0]["path"] for item in sets]
    assert len(paths) == len(environments())
    assert [app for path in paths for app in ROOT.glob(path)] == list(ROOT.glob("environments/*/*/app.json"))
    spec = application_set["template"]["spec"]
    assert spec["source"]["directory"]["include"] == "*.yaml"
    assert spec["source"]["repoURL"] == git["repoURL"]


def test_canary_does_not_block_a_rollback(application_set):
    options = application_set["template"]["spec"]["syncPolicy"]["syncOptions"]
    assert not [option for option in options if option.startswith("PruneLast")]
    for file in RENDERED:
        item = yaml.safe_load(file.read_text())
        wave = item.get("metadata", {}).get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0")
        serves = item.get("kind") in ("Deployment", "Rollout", "InferenceService")
        assert not serves or wave == "1", file
        assert wave in ("0", "1"), file


def test_workloads_are_pruned_last():
    kinds = {"Deployment": 0, "InferenceService": 0, "Rollout": 0}
    for file in RENDERED:
        item = yaml.safe_load(file.read_text())
        options = item.get("metadata", {}).get("annotations", {}).get("argocd.argoproj.io/sync-options", "")
        assert ("PruneLast=true" in options) == (item.get("kind") in kinds), file
        if item.get("kind") in kinds:
            kinds[item["kind"]] += 1
    assert all(kinds.values())


def test_namespaces_are_restricted_and_readers_read_no_secret():
    kinds = {kind.plural for kind in (*KINDS.values(), *WORKLOADS.values())}
    for place in environments():
        files = committed()
        labels = files[f"namespace-{place.namespace}.yaml"]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        rules = files[f"role-{place.namespace}.yaml"]["rules"]
        assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list"}
        read = {resource for rule in rules for resource in rule["resources"]}
        assert kinds == read
        binding = files[f"rolebinding-{place.namespace}.yaml"]
        assert binding["roleRef"]["name"] == files[f"role-{place.namespace}.yaml"]["metadata"]["name"]
        account = files[f"serviceaccount-{place.namespace}.yaml"]
        assert binding["subjects"][0]["name"] == account["metadata"]["name"]


def test_missing_repository_url_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(FrameworkError, match="not a Git repository"):
        argocd([])
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(FrameworkError, match="set repo="):
        argocd([])
    assert not (tmp_path / "environments").exists()


GIVEN = {
    **{"repo": "r", "branch": "b", "server": "s", "namespace": "argocd", "environments": "environments"},
    "admission": "policy",
}


@pytest.mark.parametrize(("name", "kept"), [("dev", False), ("staging", False), ("production", True)])
def test_production_keeps_what_is_deleted_in_git(name, kept):
    spec = committed()[f"applicationset-gitune-{name}.yaml"]["spec"]
    assert spec["syncPolicy"]["preserveResourcesOnDeletion"] is kept
    assert ("finalizers" in spec["template"]["metadata"]) is not kept


def test_each_environment_can_have_its_own_cluster(tmp_path, monkeypatch):
    server = "https://production.example.com:6443"
    places = [
        place.model_copy(update={"server": server}) if place.name == "production" else place
        for place in environments()
    ]
    made = {name: yaml.safe_load(text) for name, text in render_files(places, GIVEN).items()}
    for name, wanted in (("dev", "s"), ("production", server)):
        template = made[f"applicationset-gitune-{name}.yaml"]["spec"]["template"]["spec"]
        assert template["destination"]["server"] == wanted
        (destination,) = made[f"appproject-gitune-{name}.yaml"]["spec"]["destinations"]
        assert destination["server"] == wanted
    own = {name: item for name, item in made.items() if name.startswith("production/")}
    assert {item["kind"] for item in own.values()} == {
        *("Namespace", "NetworkPolicy", "Role", "RoleBinding", "ServiceAccount")
    }
    assert not [
        name
        for name, item in made.items()
        if name not in own and item["metadata"].get("namespace") == "gitune-production"
    ]


def test_files_of_a_former_cluster_are_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    option = (ROOT / "conf" / "environment" / "production.yaml").read_text()
    place = tmp_path / "conf" / "environment" / "production.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(option.replace("server: null", "server: https://production.example.com"))
    argocd(["repo=https://git.example.org/models.git"])
    folder = tmp_path / "environments" / "argocd"
    assert (folder / "production" / "namespace-gitune-production.yaml").is_file()
    assert not (folder / "namespace-gitune-production.yaml").exists()
    mine = folder / "production" / "mine.yaml"
    mine.write_text("a: 1\n")
    place.unlink()
    argocd(["repo=https://git.example.org/models.git"])
    assert [path.name for path in (folder / "production").iterdir()] == ["mine.yaml"]
    assert (folder / "namespace-gitune-production.yaml").is_file()


def test_teams_own_environment_is_one_of_them(tmp_path, monkeypatch):
    option = (ROOT / "conf" / "environment" / "staging.yaml").read_text()
    place = tmp_path / "conf" / "environment" / "canaries.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(
        option.replace("name: staging", "name: canaries").replace("gitune-staging", "team-canaries")
    )
    monkeypatch.chdir(tmp_path)
    made = render_files(environments(), GIVEN)
    assert "namespace: team-canaries" in made["appproject-gitune-canaries.yaml"]
    assert "namespace-team-canaries.yaml" in made
