"""A real Envoy obeys the numbers of the rendered routes.

``conftest.py`` hands them on as a control plane would; the steps of the rendered Rollout change the routes
here as Argo Rollouts changes them. No assertion depends on how long anything takes.
"""

import copy
import time
from urllib.request import urlopen

import pytest
import yaml

pytest.importorskip("envoy")
PINNED = ("kubernetes", {"image": f"registry.example.com/server@sha256:{'5' * 64}"})
REACHED = ("production", {"domain": "models.example.com"})


def stepped(found: dict, *steps: dict) -> dict:
    """Return the objects as Argo Rollouts leaves them after *steps* of the rendered Rollout."""
    found = copy.deepcopy(found)
    new = found["Rollout"]["spec"]["strategy"]["canary"]["canaryService"]
    for step in steps:
        for route in _base_routes(found):
            for to in route.get("route") or route["backendRefs"]:
                name = to["name"] if "name" in to else to["destination"]["host"].split(".")[0]
                if "setWeight" in step:
                    to["weight"] = step["setWeight"] if name == new else 100 - step["setWeight"]
        if match := step.get("setHeaderRoute", step.get("setMirrorRoute", {})).get("match"):
            _add_route(found, new, match[0], mirrors="setMirrorRoute" in step)
    return found


def _base_routes(found: dict) -> list[dict]:
    spec = (found.get("VirtualService") or found["HTTPRoute"])["spec"]
    return [route for route in spec.get("http") or spec["rules"] if route.get("name") == "release"]


def _add_route(found: dict, new: str, match: dict, *, mirrors: bool) -> None:
    (base,) = copy.deepcopy(_base_routes(found))
    # Rollouts and its plugin copy where requests go, and neither retries nor timeouts.
    base = {key: base[key] for key in ("route", "backendRefs", "matches") if key in base}
    base["name"] = "managed"
    header = match["headerName"] if not mirrors else None
    if "VirtualService" in found:  # in front, as istiod tries them in order
        wanted = {"headers": {header: {"exact": match["headerValue"]["exact"]}}} if header else match
        base["match"] = [{k: v for k, v in wanted.items() if k != "path"}]
        to_new = [to for to in base["route"] if to["destination"]["host"].split(".")[0] == new]
        base |= {"mirror": to_new[0]["destination"]} if mirrors else {"route": [{**to_new[0], "weight": 100}]}
        found["VirtualService"]["spec"]["http"].insert(0, base)
        return
    to_new = next(ref for ref in base["backendRefs"] if ref["name"] == new)
    wanted = {"name": header, "type": "Exact", "value": match["headerValue"]["exact"]}
    base["matches"] = [{**base["matches"][0], "headers": [wanted]}]
    base["backendRefs"] = [{**to_new, "weight": 1}]
    # Behind, as the plugin does: it must win by asking for more.
    found["HTTPRoute"]["spec"]["rules"].append(base)


@pytest.fixture
def rendered(render_with, measured):
    def render(**chosen: object) -> dict:
        chosen = {"deployment": PINNED, "environment": REACHED, "monitoring": measured, **chosen}
        texts = render_with(**chosen)
        items = [yaml.safe_load(text) for name, text in texts.items() if name.endswith(".yaml")]
        found = {item["kind"]: item for item in items}
        return {**found, "DestinationRules": [i for i in items if i["kind"] == "DestinationRule"]}

    return render


def canary_steps(found: dict) -> list[dict]:
    return found["Rollout"]["spec"]["strategy"]["canary"]["steps"]


def test_failed_request_is_retried_with_exponential_backoff(rendered, backend, proxy):
    pod = backend(503)
    through = proxy(rendered(traffic="istio"), {"tiny": [pod]})
    assert through.ask() == [503]
    assert pod.calls == 4
    assert through.count("cluster.tiny.upstream_rq_retry_backoff_exponential$") == 3
    assert '"base_interval": "0.100s"' in urlopen(f"http://{through.admin}/config_dump").read().decode()


def test_pod_that_recovers_within_three_retries_is_hidden(rendered, backend, proxy):
    pod = backend(503, 503, 503, 200)
    assert proxy(rendered(traffic="istio"), {"tiny": [pod]}).ask() == [200]


def test_model_error_is_not_retried(rendered, backend, proxy):
    pod = backend(500)
    assert proxy(rendered(traffic="istio"), {"tiny": [pod]}).ask() == [500]
    assert pod.calls == 1


def test_pod_is_ejected_after_five_consecutive_errors(rendered, backend, proxy):
    bad, good = backend(500), backend()
    # As long as the test may take: on its own it would come back after 30 s.
    found = rendered(traffic=("istio", {"eject_seconds": 3600}))
    through = proxy(found, {"tiny": [bad, good]})
    answers: list[int] = []
    while bad.calls < 5 and len(answers) < 1000:
        answers += through.ask()
    assert answers.count(500) == 5
    assert set(through.ask(100)) == {200}
    assert bad.calls == 5
    assert through.count("cluster.tiny.outlier_detection.ejections_active$") == 1


@pytest.mark.parametrize("traffic", ["istio", "gateway-api"])
def test_hanging_request_times_out(rendered, backend, proxy, traffic):
    pod = backend()
    pod.hangs = True
    through = proxy(rendered(traffic=(traffic, {"try_seconds": 1, "timeout_seconds": 1})), {"tiny": [pod]})
    assert through.ask() == [504]


def test_hanging_try_is_retried_on_another_pod(rendered, backend, proxy):
    slow, quick = backend(), backend()
    slow.hangs = True
    found = rendered(traffic=("istio", {"try_seconds": 1, "timeout_seconds": 60}))
    through = proxy(found, {"tiny": [slow, quick]})
    answers: list[int] = []
    while not slow.calls and len(answers) < 1000:
        answers += through.ask()
    assert set(answers) == {200}
    assert through.count("cluster.tiny.upstream_rq_per_try_timeout$") == 1


@pytest.mark.parametrize("traffic", ["istio", "gateway-api"])
def test_canary_gets_its_share_and_nothing_after_an_abort(rendered, backend, proxy, traffic):
    found = rendered(traffic=traffic, rollout="canary")
    first, _, second, _ = canary_steps(found)
    assert (first, second) == ({"setWeight": 1}, {"setWeight": 5})
    old, new = backend(), backend(500)
    through = proxy(stepped(found, first, second), {"tiny": [old], "tiny-canary": [new]})
    answers = through.ask(500)  # without a single one to the canary once in 10 to the 11
    assert 0 < answers.count(500) == new.calls < 125
    before = new.calls
    aborted = proxy(stepped(found, second, {"setWeight": 0}), {"tiny": [old], "tiny-canary": [new]})
    assert set(aborted.ask(100)) == {200}
    assert new.calls == before


@pytest.mark.parametrize("traffic", ["istio", "gateway-api"])
def test_header_chooses_the_arm(rendered, backend, proxy, traffic):
    found = rendered(traffic=traffic, rollout=("ab", {"header": "x-arm", "value": "new"}))
    a, b = backend(201), backend(202)
    steps = canary_steps(found)[:3]
    through = proxy(stepped(found, *steps), {"tiny": [a], "tiny-b": [b]})
    assert set(through.ask(20)) == {201}
    assert set(through.ask(20, **{"x-arm": "new"})) == {202}
    assert set(through.ask(20, **{"x-arm": "other"})) == {201}


def test_shadow_gets_copies_and_its_answers_are_discarded(rendered, backend, proxy):
    found = rendered(traffic="istio", rollout="shadow")
    old, new = backend(), backend(500)
    through = proxy(stepped(found, *canary_steps(found)[:3]), {"tiny": [old], "tiny-shadow": [new]})
    assert set(through.ask(30)) == {200}
    assert set(through.ask(5, method="GET")) == {200}  # asks no model
    deadline = time.monotonic() + 60
    while new.calls < 30 and time.monotonic() < deadline:
        time.sleep(0.02)  # copies are sent without anybody waiting for them
    assert (old.calls, new.calls) == (35, 30)
