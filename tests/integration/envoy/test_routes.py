"""A real Envoy follows the rendered routes: retries, timeouts, outlier detection and weights.

``conftest.py`` replaces the control plane. The steps of the rendered Rollout change the routes as Argo
Rollouts does. No assertion depends on elapsed time.
"""

import copy
import time
from urllib.request import urlopen

import pytest
import yaml

pytest.importorskip("envoy")
IMAGE = f"registry.example.com/server@sha256:{'5' * 64}"
PINNED = ("kubernetes", {"image": IMAGE, "api_key_secret": {"name": "api-keys"}})
RESILIENT = ["istio", "envoy-gateway"]
GATEWAYS = [*RESILIENT, "gateway-api"]
REACHED = ("production", {"domain": "models.example.com"})


def stepped(manifests: dict, *steps: dict) -> dict:
    """Return the objects as Argo Rollouts changes them in *steps* of the rendered Rollout."""
    manifests = copy.deepcopy(manifests)
    new = manifests["Rollout"]["spec"]["strategy"]["canary"]["canaryService"]
    for step in steps:
        for route in _base_routes(manifests):
            for to in route.get("route") or route["backendRefs"]:
                name = to["name"] if "name" in to else to["destination"]["host"].split(".")[0]
                if "setWeight" in step:
                    to["weight"] = step["setWeight"] if name == new else 100 - step["setWeight"]
        if match := step.get("setHeaderRoute", step.get("setMirrorRoute", {})).get("match"):
            _add_route(manifests, new, match[0], mirrors="setMirrorRoute" in step)
    return manifests


def _base_routes(manifests: dict) -> list[dict]:
    spec = (manifests.get("VirtualService") or manifests["HTTPRoute"])["spec"]
    return [route for route in spec.get("http") or spec["rules"] if route.get("name") == "release"]


def _add_route(manifests: dict, new: str, match: dict, *, mirrors: bool) -> None:
    (base,) = copy.deepcopy(_base_routes(manifests))
    # Argo Rollouts and its plugin copy destinations, but neither retries nor timeouts.
    base = {key: base[key] for key in ("route", "backendRefs", "matches") if key in base}
    base["name"] = "managed"
    header = match["headerName"] if not mirrors else None
    if "VirtualService" in manifests:  # first, as istiod tries routes in order
        condition = {"headers": {header: {"exact": match["headerValue"]["exact"]}}} if header else match
        base["match"] = [{k: v for k, v in condition.items() if k != "path"}]
        to_new = [to for to in base["route"] if to["destination"]["host"].split(".")[0] == new]
        base |= {"mirror": to_new[0]["destination"]} if mirrors else {"route": [{**to_new[0], "weight": 100}]}
        manifests["VirtualService"]["spec"]["http"].insert(0, base)
        return
    to_new = next(ref for ref in base["backendRefs"] if ref["name"] == new)
    condition = {"name": header, "type": "Exact", "value": match["headerValue"]["exact"]}
    base["matches"] = [{**base["matches"][0], "headers": [condition]}]
    base["backendRefs"] = [{**to_new, "weight": 1}]
    # Last, as the plugin does; it takes precedence because it is more specific.
    manifests["HTTPRoute"]["spec"]["rules"].append(base)


@pytest.fixture
def rendered(render_with, measured):
    def render(**chosen: object) -> dict:
        chosen = {"deployment": PINNED, "environment": REACHED, "monitoring": measured, **chosen}
        texts = render_with(**chosen)
        items = [yaml.safe_load(text) for name, text in texts.items() if name.endswith(".yaml")]
        by_kind = {item["kind"]: item for item in items}
        return {**by_kind, "DestinationRules": [i for i in items if i["kind"] == "DestinationRule"]}

    return render


def canary_steps(manifests: dict) -> list[dict]:
    return manifests["Rollout"]["spec"]["strategy"]["canary"]["steps"]


@pytest.mark.parametrize("traffic", RESILIENT)
def test_failed_request_is_retried_with_exponential_backoff(rendered, backend, proxy, traffic):
    pod = backend(503)
    through = proxy(rendered(traffic=traffic), {"tiny": [pod]})
    assert through.ask() == [503]
    assert pod.calls == 4
    assert through.count("cluster.tiny.upstream_rq_retry_backoff_exponential$") == 3
    assert '"base_interval": "0.100s"' in urlopen(f"http://{through.admin}/config_dump").read().decode()


@pytest.mark.parametrize("traffic", RESILIENT)
def test_pod_that_recovers_within_three_retries_is_hidden(rendered, backend, proxy, traffic):
    pod = backend(503, 503, 503, 200)
    assert proxy(rendered(traffic=traffic), {"tiny": [pod]}).ask() == [200]


@pytest.mark.parametrize("traffic", RESILIENT)
def test_model_error_is_not_retried(rendered, backend, proxy, traffic):
    pod = backend(500)
    assert proxy(rendered(traffic=traffic), {"tiny": [pod]}).ask() == [500]
    assert pod.calls == 1


@pytest.mark.parametrize("traffic", RESILIENT)
def test_pod_is_ejected_after_five_consecutive_errors(rendered, backend, proxy, traffic):
    bad, good = backend(500), backend()
    # Longer than the test; the default returns the pod after 30 s.
    manifests = rendered(traffic=(traffic, {"eject_seconds": 3600}))
    through = proxy(manifests, {"tiny": [bad, good]})
    answers: list[int] = []
    while bad.calls < 5 and len(answers) < 1000:
        answers += through.ask()
    assert answers.count(500) == 5
    deadline = time.monotonic() + 60
    while not through.count("cluster.tiny.outlier_detection.ejections_active$"):
        assert time.monotonic() < deadline  # Envoy's main thread ejects the pod a moment later
        time.sleep(0.02)
    assert set(through.ask(100)) == {200}
    assert bad.calls == 5


@pytest.mark.parametrize("traffic", GATEWAYS)
def test_hanging_request_times_out(rendered, backend, proxy, traffic):
    pod = backend()
    pod.hangs = True
    through = proxy(rendered(traffic=(traffic, {"try_seconds": 1, "timeout_seconds": 1})), {"tiny": [pod]})
    assert through.ask() == [504]


@pytest.mark.parametrize("traffic", RESILIENT)
def test_hanging_try_is_retried_on_another_pod(rendered, backend, proxy, traffic):
    slow, quick = backend(), backend()
    slow.hangs = True
    manifests = rendered(traffic=(traffic, {"try_seconds": 1, "timeout_seconds": 60}))
    through = proxy(manifests, {"tiny": [slow, quick]})
    answers: list[int] = []
    while not slow.calls and len(answers) < 1000:
        answers += through.ask()
    assert set(answers) == {200}
    assert through.count("cluster.tiny.upstream_rq_per_try_timeout$") == 1


@pytest.mark.parametrize("traffic", GATEWAYS)
def test_canary_gets_its_share_and_nothing_after_an_abort(rendered, backend, proxy, traffic):
    manifests = rendered(traffic=traffic, rollout="canary")
    first, _, second, _ = canary_steps(manifests)
    assert (first, second) == ({"setWeight": 1}, {"setWeight": 5})
    old, new = backend(), backend(500)
    through = proxy(stepped(manifests, first, second), {"tiny": [old], "tiny-canary": [new]})
    answers = through.ask(500)  # P(no request to the canary) is about 1e-11
    assert 0 < answers.count(500) == new.calls < 125
    before = new.calls
    aborted = proxy(stepped(manifests, second, {"setWeight": 0}), {"tiny": [old], "tiny-canary": [new]})
    assert set(aborted.ask(100)) == {200}
    assert new.calls == before


@pytest.mark.parametrize("traffic", GATEWAYS)
def test_header_chooses_the_arm(rendered, backend, proxy, traffic):
    manifests = rendered(traffic=traffic, rollout=("ab", {"header": "x-arm", "value": "new"}))
    a, b = backend(201), backend(202)
    steps = canary_steps(manifests)[:3]
    through = proxy(stepped(manifests, *steps), {"tiny": [a], "tiny-b": [b]})
    assert set(through.ask(20)) == {201}
    assert set(through.ask(20, **{"x-arm": "new"})) == {202}
    assert set(through.ask(20, **{"x-arm": "other"})) == {201}


def test_shadow_gets_copies_and_its_answers_are_discarded(rendered, backend, proxy):
    manifests = rendered(traffic="istio", rollout="shadow")
    old, new = backend(), backend(500)
    through = proxy(stepped(manifests, *canary_steps(manifests)[:3]), {"tiny": [old], "tiny-shadow": [new]})
    assert set(through.ask(30)) == {200}
    assert set(through.ask(5, method="GET")) == {200}  # GET requests are not mirrored
    deadline = time.monotonic() + 60
    while new.calls < 30 and time.monotonic() < deadline:
        time.sleep(0.02)  # mirrored requests are sent in the background
    assert (old.calls, new.calls) == (35, 30)
