"""The objects of each traffic option; tests/integration/envoy tries them on a proxy."""

import pytest
import yaml
from pydantic import ValidationError

from framework.core.errors import PlanError
from framework.delivery.traffic.envoy_gateway import EnvoyGateway
from framework.delivery.traffic.gateway_api import GatewayApi
from framework.delivery.traffic.istio import Istio

IMAGE = {"image": f"registry.example.com/server@sha256:{'5' * 64}"}
PINNED = ("kubernetes", {**IMAGE, "api_key_secret": {"name": "api-keys"}})
REACHED = ("production", {"domain": "models.example.com"})


@pytest.fixture
def rendered(render_with, measured):
    def render(**chosen):
        options = {"deployment": PINNED, "environment": REACHED, "monitoring": measured, **chosen}
        items = [
            yaml.safe_load(text) for name, text in render_with(**options).items() if name.endswith("yaml")
        ]
        return {(item["kind"], item["metadata"]["name"]): item for item in items}

    return render


def test_istio_retries_and_ejects_after_five_errors(rendered):
    objects = rendered(traffic="istio")
    (route,) = objects["VirtualService", "tiny"]["spec"]["http"]
    assert route["retries"]["attempts"] == 3
    assert route["retries"]["backoff"] == "100ms"
    assert (route["retries"]["perTryTimeout"], route["timeout"]) == ("60s", "180s")
    policy = objects["DestinationRule", "tiny"]["spec"]["trafficPolicy"]
    assert policy["outlierDetection"]["consecutive5xxErrors"] == 5
    assert policy["connectionPool"]["tcp"]["maxConnections"] == 1024


def test_istio_has_a_rule_for_each_service(rendered):
    objects = rendered(traffic="istio", rollout="canary")
    hosts = {item["spec"]["host"] for (kind, _), item in objects.items() if kind == "DestinationRule"}
    (route,) = objects["VirtualService", "tiny"]["spec"]["http"]
    assert hosts == {to["destination"]["host"] for to in route["route"]}
    assert [to["weight"] for to in route["route"]] == [100, 0]


def test_httproute_has_gateway_host_and_timeouts(rendered):
    spec = rendered(traffic=("gateway-api", {"gateway": "edge/main"}))["HTTPRoute", "tiny"]["spec"]
    assert spec["hostnames"] == ["tiny.models.example.com"]
    (parent,) = spec["parentRefs"]
    assert (parent["namespace"], parent["name"]) == ("edge", "main")
    (rule,) = spec["rules"]
    assert rule["timeouts"] == {"backendRequest": "60s", "request": "180s"}
    assert "retry" not in rule  # not in the standard channel


def test_envoy_gateway_retries_and_ejects_as_istio_does(rendered):
    options = {
        "retries": 2,
        "backoff_milliseconds": 50,
        "eject_after": 4,
        "eject_seconds": 9,
        "try_seconds": 7,
    }
    objects = rendered(traffic=("envoy-gateway", options))
    (rule,) = objects["HTTPRoute", "tiny"]["spec"]["rules"]
    assert rule["timeouts"] == {"request": "180s"}
    policy = objects["BackendTrafficPolicy", "tiny"]["spec"]
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "tiny"}
    assert policy["targetRefs"] == [target]
    assert policy["retry"]["numRetries"] == 2
    assert policy["retry"]["perRetry"] == {"backOff": {"baseInterval": "50ms"}, "timeout": "7s"}
    passive = policy["healthCheck"]["passive"]
    assert (passive["consecutive5XxErrors"], passive["baseEjectionTime"]) == (4, "9s")
    assert policy["circuitBreaker"]["maxConnections"] == 1024


@pytest.mark.parametrize("traffic", ["istio", "gateway-api", "envoy-gateway"])
def test_network_policy_lets_the_gateway_in(rendered, traffic):
    objects = rendered(traffic=(traffic, {"gateway": "edge/main"}))
    peers = objects["NetworkPolicy", "tiny"]["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}} in peers


@pytest.mark.parametrize("traffic", ["istio", "gateway-api", "envoy-gateway"])
def test_gateway_without_domain_is_refused(rendered, traffic):
    with pytest.raises(PlanError, match=r"environment\.domain="):
        rendered(traffic=traffic, environment="production")


@pytest.mark.parametrize("target", ["kubernetes", "triton"])
def test_public_host_without_an_api_key_is_refused(rendered, target):
    images = {**IMAGE, **({"fetch_image": IMAGE["image"]} if target == "triton" else {})}
    classifier = {"task": "sequence-classification", "engine": "onnxruntime"}
    given = {"deployment": (target, images), "release": classifier}
    with pytest.raises(PlanError) as caught:
        rendered(**given, traffic="istio")
    (problem,) = caught.value.problems
    assert problem.key == "deployment.api_key_secret"
    named = "deployment.api_key_secret={name:<name>}" in problem.overrides
    assert named == (target == "kubernetes")  # Triton has no keys
    assert problem.overrides[-2:] == ("traffic=none", "environment.require_api_key=false")
    if target == "kubernetes":
        keys = ("kubernetes", {**images, "keys_secret": {"name": "keys"}})
        rendered(**{**given, "deployment": keys}, traffic="istio")
    rendered(**given, traffic="none")
    rendered(**given, traffic="istio", environment=(REACHED[0], {**REACHED[1], "require_api_key": False}))
    rendered(**given, traffic="istio", environment=("dev", REACHED[1]))


@pytest.mark.parametrize("option", [Istio, GatewayApi, EnvoyGateway])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gateway": "public"}, "<namespace>/<name>"),
        ({"gateway": "a/b/c"}, "<namespace>/<name>"),
        ({"try_seconds": 61, "timeout_seconds": 60}, r"'try_seconds' \(61\) is above"),
    ],
)
def test_invalid_gateway_fields_are_rejected(option, fields, message):
    with pytest.raises(ValidationError, match=message):
        option(**fields)
