"""Our own server in Kubernetes: its fields, its settings and its API key."""

import json

import pytest
from pydantic import ValidationError

from framework.core.errors import PlanError
from framework.core.release import ORIGIN, Release
from framework.delivery.deployment.compose import Compose
from framework.delivery.deployment.kserve import KServe
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.deployment.triton import Triton
from framework.delivery.deployment.vllm import Vllm
from framework.serving.http import HttpServing


def test_option_file_shows_every_field_with_its_default(shown):
    text, target = shown("kubernetes")
    assert set(text) == set(Kubernetes.model_fields) | {"_target_"}
    assert target == Kubernetes()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"requests": {"cpu": "8", "memory": "8Gi"}}, r"'requests.cpu' \(8\) is above 'limits.cpu' \(4\)"),
        ({"requests": {"cpu": "1", "memory": "17Gi"}}, "'requests.memory'"),
        ({"requests": {"cpu": "2Gi", "memory": "8Gi"}}, "should be CPU cores"),
        ({"requests": {"cpu": "2", "memory": "8GB"}}, "should be bytes"),
        ({"requests": {"cpu": "0m", "memory": "8Gi"}}, "should be above zero"),
        ({"image": "Gitune Server"}, "should be an image"),
        ({"image": "gitune/server@sha256:abc"}, "should be an image"),
        ({"store_secret": "My_Secret"}, "should be an object's name"),
        ({"store_port": 99999}, "less than or equal to 65535"),
        ({"ingress_from": [{}]}, "give labels under"),
        ({"ingress_from": [{"pods": {"a b": "c"}}]}, "should be a label's key"),
        ({"ingress_from": [{"pods": {"app": "x" * 64}}]}, "should be a label's value"),
    ],
)
def test_values_that_an_api_server_would_reject_are_rejected(fields, message):
    with pytest.raises(ValidationError, match=message):
        Kubernetes(**fields)


def test_numeric_quantity_becomes_text():
    assert Kubernetes(requests={"cpu": 1, "memory": "8Gi"}).requests.cpu == "1"


def test_settings_bind_all_addresses(built, pod, release):
    serving = HttpServing(port=9000, host="127.0.0.1")
    data = built(serving=serving)["ConfigMap"]["data"]
    # A server of an earlier version reads it, too: what it does not know is left out.
    assert Release.parse(data["release.lock"], "lock") == release().served()
    assert not {*json.loads(data["release.lock"])} & {*ORIGIN}
    settings = json.loads(data["serving.json"])
    assert settings["host"] == "0.0.0.0"
    assert settings["port"] == 9000
    assert pod(serving=serving)["containers"][0]["ports"][0]["containerPort"] == 9000


@pytest.mark.parametrize(("threads", "cpu", "expected"), [(0, "4", 4), (0, "2500m", 2), (3, "4", 3)])
def test_threads_default_to_the_cpu_limit(built, threads, cpu, expected):
    target = Kubernetes(limits={"cpu": cpu, "memory": "16Gi"})
    data = built(target, serving=HttpServing(threads=threads))["ConfigMap"]["data"]
    assert json.loads(data["serving.json"])["threads"] == expected


def test_pods_roll_on_new_model_or_settings_with_one_selector(built, release):
    def template(*arguments, **parts):
        return built(*arguments, **parts)["Deployment"]["spec"]["template"]["metadata"]["annotations"]

    other = release(digest=f"sha256:{'9' * 64}")
    assert template() == template()
    assert template() != template(serving=HttpServing(max_new_tokens=7))
    assert template() != template(None, other)
    selectors = [built(None, served)["Deployment"]["spec"]["selector"] for served in (release(), other)]
    assert selectors[0] == selectors[1]


def test_api_key_reaches_only_the_server_as_a_reference(pod, remote, deliver):
    target = Kubernetes(api_key_secret={"name": "tiny-api"}, store_secret="store")
    spec = pod(target, remote())
    reference = {"secretKeyRef": {"key": "api-key", "name": "tiny-api"}}
    assert {"name": "GITUNE_API_KEY", "valueFrom": reference} in spec["containers"][0]["env"]
    assert all(item["name"] != "GITUNE_API_KEY" for item in spec["initContainers"][0]["env"])
    assert target.wanted_secrets(deliver()) == {"store": "Opaque", "tiny-api": "Opaque"}


def test_file_of_api_keys_is_a_folder_of_its_own_in_the_server_alone(built, pod, remote, deliver):
    target = Kubernetes(keys_secret={"name": "tiny-keys", "key": "team.yaml"})
    spec = pod(target, remote())
    (volume,) = (volume for volume in spec["volumes"] if "secret" in volume)
    items = [{"key": "team.yaml", "path": "keys.yaml"}]
    assert volume["secret"] == {"items": items, "secretName": "tiny-keys"}
    (mount,) = (each for each in spec["containers"][0]["volumeMounts"] if each["name"] == volume["name"])
    assert mount == {"mountPath": "/etc/gitune-keys", "name": "keys", "readOnly": True}
    assert volume["name"] not in {each["name"] for each in spec["initContainers"][0]["volumeMounts"]}
    settings = json.loads(built(target)["ConfigMap"]["data"]["serving.json"])
    assert settings["keys"] == "/etc/gitune-keys/keys.yaml"
    assert target.wanted_secrets(deliver()) == {"tiny-keys": "Opaque"}


@pytest.mark.parametrize("target", [Kubernetes, KServe, Vllm, Triton, Compose])
def test_file_of_this_machine_is_refused_where_pods_do_not_have_it(deliver, target):
    local = deliver(serving=HttpServing(keys="keys.yaml"))
    (problem,) = target().lost_keys(local)
    assert problem.key == "serving.keys"
    named = {"deployment.keys=true", "deployment.keys_secret={name:<name>,key:<key>}"} & {*problem.overrides}
    assert len(named) == (target not in (Vllm, Triton))
    assert "serving.keys" not in {each.key for each in target().problems(local)}, "run serve reads it"
    assert target().lost_keys(deliver()) == []
    assert Kubernetes(keys_secret={"name": "keys"}).lost_keys(local) == []
    assert Compose(keys=True).lost_keys(local) == []


def test_file_of_this_machine_is_not_rendered(render_with):
    with pytest.raises(PlanError, match=r"deployment\.keys_secret="):
        render_with(environment="dev", serving=("http", {"keys": "keys.yaml"}))
