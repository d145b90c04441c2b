"""Pods that run background jobs beside our own server."""

import subprocess

import kubernetes_judge
import pytest

from framework.delivery.deployment.compose import RABBITMQ_URL, Compose
from framework.delivery.deployment.kserve import KServe
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.serving import API_KEY
from framework.serving.http import HttpServing

JOBS = {"broker": "GITUNE_BROKER", "results": "postgresql://jobs.databases:6432/jobs"}
SERVING = HttpServing(jobs=JOBS)
TARGET = {
    "api_key_secret": {"name": "api-keys", "key": "key"},
    "server_secret": "jobs",
    "server_hosts": ["rabbitmq.example.com:5671"],
}


def named(objects):
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in objects}


@pytest.fixture
def objects(release, deliver):
    def build(kind=Kubernetes, target=TARGET, **parts):
        return named(kind(**target).objects(release(), deliver(serving=SERVING, **parts)))

    return build


@pytest.mark.parametrize(("kind", "service"), [(Kubernetes, "tiny:80"), (KServe, "tiny-predictor:80")])
def test_workers_run_beside_the_server(objects, kind, service):
    found = objects(kind, {**TARGET, "job_workers": 3})
    spec = found["Deployment/tiny-jobs"]["spec"]
    assert spec["replicas"] == 3
    pod = spec["template"]["spec"]
    [worker] = pod["containers"]
    name, port = service.split(":")
    assert worker["command"] == ["python", "-m", "framework.serving.jobs.worker"]
    flags = dict(zip(worker["args"][::2], worker["args"][1::2], strict=True))
    assert flags["--url"].startswith(f"http://{name}.")
    assert flags["--url"].endswith(f".svc:{port}")
    assert [each["name"] for each in worker["env"]] == ["HOME", API_KEY]
    assert worker["envFrom"] == [{"secretRef": {"name": "jobs"}}]
    assert flags["--pulse"] in worker["livenessProbe"]["exec"]["command"][-1]
    # No Service and no budget of the server selects them, and they have files of their own.
    assert spec["selector"]["matchLabels"]["app.kubernetes.io/name"] == "gitune-job-worker"
    assert "initContainers" not in pod
    files = {item["path"] for item in pod["volumes"][0]["downwardAPI"]["items"]}
    assert {flags["--release"].rpartition("/")[2], flags["--config"].rpartition("/")[2]} <= files
    budget = found["PodDisruptionBudget/tiny-jobs"]["spec"]
    assert budget["selector"] == spec["selector"]


def test_network_policies_let_them_reach_the_server(objects):
    found = objects()
    policy = found["NetworkPolicy/tiny-jobs"]["spec"]
    assert policy["ingress"] == []
    ports = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert ports == [8000, 53, 53, 6432, 5671]
    labels = found["Deployment/tiny-jobs"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        peer["podSelector"]["matchLabels"]
        for rule in found["NetworkPolicy/tiny"]["spec"]["ingress"]
        for peer in rule["from"]
        if "podSelector" in peer
    ]
    assert any(selector.items() <= labels.items() for selector in selectors)


def test_cilium_opens_the_broker_by_name(objects, environment):
    found = objects(environment=environment("dev", network_policies="cilium"))
    assert [
        rule["toFQDNs"]
        for rule in found["CiliumNetworkPolicy/tiny-jobs"]["spec"]["egress"]
        if "toFQDNs" in rule
    ] == [[{"matchName": "jobs.databases"}], [{"matchName": "rabbitmq.example.com"}]]
    assert len(found["NetworkPolicy/tiny-jobs"]["spec"]["egress"]) == 1


@pytest.mark.parametrize("kind", [Kubernetes, KServe])
def test_an_api_server_takes_them(objects, kind):
    assert [
        problem for item in objects(kind).values() for problem in kubernetes_judge.problems_of(item)
    ] == []


def test_without_a_broker_there_are_none(release, deliver):
    serving = HttpServing(jobs={"results": JOBS["results"]})
    found = named(Kubernetes().objects(release(), deliver(serving=serving)))
    assert not [name for name in found if name.endswith("-jobs")]


def keys(target, delivery):
    return {problem.key for problem in target.problems(delivery)}


@pytest.mark.parametrize("results", ["", "sqlite:////tmp/jobs.sqlite"])
def test_pods_need_a_database(deliver, results):
    broken = HttpServing(jobs={"results": results})
    assert "serving.jobs.results" in keys(Kubernetes(), deliver(serving=broken))
    assert "serving.jobs.results" not in keys(Kubernetes(), deliver(serving=SERVING))


def test_what_the_worker_needs_and_does_not_have_is_a_problem(deliver):
    assert {"deployment.server_secret", "deployment.server_hosts"} <= keys(
        Kubernetes(), deliver(serving=SERVING)
    )


def test_compose_starts_a_worker_with_its_rabbitmq(release, deliver, tmp_path):
    jobs = {"broker": RABBITMQ_URL, "results": "GITUNE_DATABASE"}
    delivery = deliver(serving=HttpServing(jobs=jobs))
    assert Compose().problems(delivery) == []
    services = Compose(api_key=True).files(release(), delivery)["compose.yaml"]["services"]
    worker, server = services["worker"], services["server"]
    assert worker["secrets"] == server["secrets"] == ["api-key", "rabbitmq-password"]
    assert worker["environment"] == server["environment"] == ["HOME=/tmp", "GITUNE_DATABASE"]
    assert worker["depends_on"] == {"server": {"condition": "service_healthy"}}
    line = worker["entrypoint"][-1].replace("$$", "$")
    assert line.endswith("--url http://server:8000 --pulse /tmp/worker-runs")
    # The line, run by a shell with a secret of its own.
    (tmp_path / "rabbitmq-password").write_text("p@ss/w$rd\n")
    (tmp_path / "api-key").write_text("key\n")
    variables = line.partition(" exec ")[0].replace("/run/secrets", str(tmp_path))
    shell = ["sh", "-c", f"export {variables}; printenv {RABBITMQ_URL}"]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert done.stdout == "amqp://gitune:p%40ss%2Fw%24rd@rabbitmq:5672//\n"


def test_compose_needs_a_database_too(deliver):
    assert "serving.jobs.results" in keys(Compose(), deliver(serving=HttpServing(jobs={})))
