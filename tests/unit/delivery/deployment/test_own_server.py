"""What pods of our own server get to call other services."""

import subprocess

import pytest
import yaml
from pydantic import ValidationError

from framework.delivery.deployment.compose import REDIS_URL
from framework.delivery.deployment.kserve import KServe
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.serving.http import HttpServing

BY_URL = HttpServing(cache={"redis": "redis://redis.cache:6380/0"})
BY_VARIABLE = HttpServing(cache={"redis": REDIS_URL})
SECRET = {"server_secret": "redis", "server_hosts": ["redis.example.com:6381"]}


def ports(objects):
    egress = objects["NetworkPolicy"]["spec"]["egress"]
    return [port["port"] for rule in egress for port in rule["ports"]]


def keys(problems):
    return [problem.key for problem in problems]


def test_url_of_the_recipe_opens_its_port(built):
    assert ports(built()) == [53, 53]
    assert ports(built(serving=BY_URL)) == [53, 53, 6380]


@pytest.mark.parametrize("kind", [Kubernetes, KServe])
def test_secret_of_the_server_becomes_its_environment(deliver, built, kind):
    target, delivery = kind(**SECRET), deliver(serving=BY_VARIABLE)
    objects = built(target, serving=BY_VARIABLE)
    if kind is KServe:
        spec = objects["InferenceService"]["spec"]["predictor"]
    else:
        spec = objects["Deployment"]["spec"]["template"]["spec"]
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "redis"}}]
    assert "envFrom" not in spec["initContainers"][0]
    assert target.wanted_secrets(delivery) == {"redis": "Opaque"}
    assert "deployment.server_secret" not in keys(target.problems(delivery))


def test_hosts_of_its_variables_are_open(built):
    assert ports(built(Kubernetes(**SECRET), serving=BY_VARIABLE)) == [53, 53, 6381]


def test_variable_without_secret_or_host_is_a_problem(deliver):
    found = keys(Kubernetes().problems(deliver(serving=BY_VARIABLE)))
    assert {"deployment.server_secret", "deployment.server_hosts"} <= {*found}
    assert not {"deployment.server_secret"} & {*keys(Kubernetes().problems(deliver(serving=BY_URL)))}


def test_cilium_opens_it_by_name(built, deliver, environment):
    cilium = environment("dev", network_policies="cilium")
    objects = built(Kubernetes(**SECRET), serving=BY_VARIABLE, environment=cilium)
    assert objects["CiliumNetworkPolicy"]["spec"]["egress"][-1] == {
        "toFQDNs": [{"matchName": "redis.example.com"}],
        "toPorts": [{"ports": [{"port": "6381", "protocol": "TCP"}]}],
    }
    inside = HttpServing(cache={"redis": "redis://redis.cache.svc"})
    assert "environment.network_policies" in keys(
        Kubernetes().problems(deliver(serving=inside, environment=cilium))
    )


LOGGED = HttpServing(request_log={"folder": "s3://logs/tiny"})


@pytest.mark.parametrize("kind", [Kubernetes, KServe])
def test_log_in_a_store_gets_its_credentials_and_its_port(deliver, built, kind):
    target = kind(server_secret="redis", log_secret="log-keys", store_port=9000)
    delivery = deliver(serving=LOGGED)
    objects = built(target, serving=LOGGED)
    if kind is KServe:
        spec = objects["InferenceService"]["spec"]["predictor"]
    else:
        spec = objects["Deployment"]["spec"]["template"]["spec"]
    assert spec["containers"][0]["envFrom"] == [
        {"secretRef": {"name": "redis"}},
        {"secretRef": {"name": "log-keys"}},
    ]
    assert "envFrom" not in spec["initContainers"][0]
    assert target.wanted_secrets(delivery) == {"redis": "Opaque", "log-keys": "Opaque"}
    assert 9000 in ports(objects)


def test_log_in_a_folder_gets_no_credentials(built, deliver):
    target = Kubernetes(log_secret="log-keys")
    local = HttpServing(request_log={"folder": "/tmp/log"})
    (server,) = built(target, serving=local)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "envFrom" not in server
    assert target.wanted_secrets(deliver(serving=local)) == {}
    assert ports(built(target, serving=local)) == [53, 53]


def test_cilium_opens_the_logs_store_by_name(built, deliver, environment):
    identity = {"aws_role_arn": "arn:aws:iam::123456789012:role/tiny"}
    cilium = environment("dev", network_policies="cilium", workload_identity=identity)

    def opened(target, serving):
        rules = built(target, serving=serving, environment=cilium)["CiliumNetworkPolicy"]["spec"]["egress"]
        return {name for rule in rules for each in rule.get("toFQDNs", ()) for name in each.values()}

    assert {"logs.s3.amazonaws.com", "sts.*.amazonaws.com"} <= opened(Kubernetes(), LOGGED)
    azure = HttpServing(request_log={"folder": "az://logs/tiny"})
    assert "deployment.store_hosts" in keys(Kubernetes().problems(deliver(serving=azure, environment=cilium)))
    named = Kubernetes(store_hosts=["acme.blob.core.windows.net"])
    assert "deployment.store_hosts" not in keys(named.problems(deliver(serving=azure, environment=cilium)))
    assert "acme.blob.core.windows.net" in opened(named, azure)


def test_compose_passes_the_stores_variables_to_a_server_with_a_log(render_with):
    target = ("compose", {"store_variables": ["AWS_ACCESS_KEY_ID"]})
    for serving, passed in ((LOGGED, True), (HttpServing(), False)):
        files = render_with(environment="dev", deployment=target, serving=("http", serving.dump()))
        server = yaml.safe_load(files["dev/tiny/compose.yaml"])["services"]["server"]
        assert ("AWS_ACCESS_KEY_ID" in server["environment"]) == passed


@pytest.mark.parametrize("host", ["redis", "redis:0", ":6379", "redis://redis:6379"])
def test_host_has_a_port(host):
    with pytest.raises(ValidationError, match="should be a host and a port"):
        Kubernetes(server_hosts=[host])


def test_compose_sets_the_url_of_its_own_redis(render_with, tmp_path):
    files = render_with(environment="dev", deployment=("compose", {}), serving=("http", BY_VARIABLE.dump()))
    server = yaml.safe_load(files["dev/tiny/compose.yaml"])["services"]["server"]
    assert "redis-password" in server["secrets"]
    line = server["entrypoint"][2].replace("$$", "$")
    (tmp_path / "redis-password").write_text("p@ss/word\n")
    # The line as it is, with the secrets' folder and the server replaced.
    line = line.replace("/run/secrets", str(tmp_path)).partition(" exec ")[0]
    shown = subprocess.run(
        ["sh", "-c", f"{line} exec env"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert f"{REDIS_URL}=redis://:p%40ss%2Fword@redis:6379/0" in shown.stdout.splitlines()
