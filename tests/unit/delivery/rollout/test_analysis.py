"""Queries of the analysis, evaluated by promtool over synthetic series."""

import json
import shutil
import subprocess

import pytest
import yaml

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

PINNED = f"registry.example.com/server@sha256:{'5' * 64}"
NEW, OLD = "tiny-6b9f-x7k2p", "tiny-5c8d-q1w2e"


@pytest.fixture(scope="module")
def judge(rendered, tmp_path_factory):
    """Return the verdict on a metric over series: -1 inconclusive, 0 success, 1 failure."""
    metrics = rendered(rollout="canary", traffic="istio")["AnalysisTemplate", "tiny"]["spec"]["metrics"]
    folder = tmp_path_factory.mktemp("promtool")

    def holds(expression, series):
        test = {"expr": expression, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 1}]}
        group = {"interval": "15s", "input_series": series, "promql_expr_test": [test]}
        file = folder / "test.yaml"
        file.write_text(json.dumps({"evaluation_interval": "15s", "tests": [group]}))
        done = subprocess.run(
            ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
        )
        assert "parse error" not in done.stdout + done.stderr
        return done.returncode == 0

    def judged(name, series):
        metric = next(m for m in metrics if m["name"] == name)
        query = metric["provider"]["prometheus"]["query"]
        query = query.replace("{{args.new}}", "6b9f").replace("{{args.old}}", "5c8d")
        bound = metric["failureCondition"].rpartition("> ")[2]
        assert metric["successCondition"].endswith(f"<= {bound}")
        if holds(f"({query}) > bool {bound}", series):
            return 1
        return 0 if holds(f"({query}) <= bool {bound}", series) else -1

    return judged


def counter(name, pod, step, service="tiny", **labels):
    """A counter that grows by *step* every 15 s."""
    labels_text = ",".join(
        f'{key}="{value}"'
        for key, value in {"namespace": "gitune-production", "pod": pod, "service": service, **labels}.items()
    )
    return {"series": f"{name}{{{labels_text}}}", "values": f"0+{step}x40"}


def requests(pod, good, bad=0, service="tiny"):
    name = "gitune_requests_total"
    return [
        counter(name, pod, good, service, code="200"),
        *([counter(name, pod, bad, service, code="500")] if bad else []),
    ]


def durations(pod, fast, slow):
    """A histogram of *fast* requests below 1 s and *slow* ones below 10 s, every 15 s."""
    name = "gitune_request_seconds_bucket"
    counts = {"1": fast, "10": fast + slow, "+Inf": fast + slow}
    return [counter(name, pod, step, le=le) for le, step in counts.items()]


@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        ((90, 10), (99, 1), 1),
        ((99, 1), (99, 1), 0),
        ((90, 10), (90, 10), 0),  # no worse than the old release
        ((90, 10), (0, 0), 1),  # without an old release, the bound is absolute
        ((100, 0), (0, 0), 0),
        ((5, 0.25), (99, 1), 0),  # two failures in a window are too few, though 5 % of the requests
        ((5, 0.5), (99, 1), 1),  # four failures are enough
        ((1, 1), (99, 1), -1),  # sixteen requests in a window are too few
        ((0, 0), (99, 1), -1),
    ],
)
def test_failures_are_compared_with_the_old_release(judge, new, old, verdict):
    assert judge("error-share", [*requests(NEW, *new), *requests(OLD, *old)]) == verdict


def test_requests_that_a_draining_pod_refused_are_no_failures(judge):
    refused = counter("gitune_requests_total", NEW, 10, code="503", refused="shutting_down")
    series = [*requests(NEW, 90), refused, *requests(OLD, 99, 1)]
    assert judge("error-share", series) == 0
    assert judge("error-share", [*series, counter("gitune_requests_total", NEW, 10, code="503")]) == 1


def test_pod_behind_two_services_counts_once(judge):
    twice = [*requests(NEW, 1, 1), *requests(NEW, 1, 1, service="tiny-canary")]
    assert judge("error-share", [*twice, *requests(OLD, 99, 1)]) == -1


@pytest.mark.parametrize(
    ("new", "old", "verdict"), [((50, 50), (100, 0), 1), ((100, 0), (100, 0), 0), ((100, 0), (0, 0), -1)]
)
def test_latency_is_compared_with_the_old_release(judge, new, old, verdict):
    series = [*requests(NEW, 100), *requests(OLD, 100), *durations(NEW, *new), *durations(OLD, *old)]
    assert judge("p99", series) == verdict


@pytest.mark.parametrize(("bad", "verdict"), [(20, 1), (4, 0)])
def test_bad_answers_are_compared_with_the_old_release(judge, bad, verdict):
    series = [*requests(NEW, 100), *requests(OLD, 100)]
    for pod, count in ((NEW, bad), (OLD, 1)):
        series += [
            counter("gitune_bad_outputs_total", pod, count),
            counter("gitune_request_completion_tokens_count", pod, 100),
        ]
    assert judge("bad-share", series) == verdict


def test_classifier_passes_without_bad_answers(rendered):
    metrics = rendered(rollout="canary", traffic="istio")["AnalysisTemplate", "tiny"]["spec"]["metrics"]
    conditions = {metric["name"]: metric["successCondition"] for metric in metrics}
    assert conditions["bad-share"].startswith("len(result) == 0 ||")
    assert conditions["error-share"].startswith("len(result) > 0 &&")


@pytest.mark.parametrize(
    ("target", "release"),
    [
        ("kubernetes", {}),
        ("vllm", {"engine": "torch"}),
        ("triton", {"engine": "onnxruntime", "task": "sequence-classification"}),
    ],
)
def test_queries_of_every_server_are_valid(render_with, measured, tmp_path, target, release):
    own = {"kubernetes": {}}.get(target, {"fetch_image": PINNED, "startup_seconds": 50})
    files = render_with(
        deployment=(target, {"image": PINNED, **own}),
        environment=("production", {"domain": "models.example.com", "require_api_key": False}),
        rollout="canary",
        traffic="istio",
        autoscaling=("keda", {"requests_per_pod": 1, "p99_seconds": 1}),
        monitoring=measured,
        release=release,
    )
    analysis = yaml.safe_load(files["production/tiny/analysistemplate-tiny.yaml"])["spec"]["metrics"]
    triggers = yaml.safe_load(files["production/tiny/scaledobject-tiny.yaml"])["spec"]["triggers"]
    queries = [metric["provider"]["prometheus"]["query"] for metric in analysis]
    queries += [trigger["metadata"]["query"] for trigger in triggers if trigger["type"] != "cpu"]
    # Triton does not count bad answers, and only vLLM has a KV cache.
    assert len(queries) == {"kubernetes": 6, "vllm": 7, "triton": 5}[target]
    queries_to_check = [
        {"expr": query.replace("{{args.", "").replace("}}", ""), "eval_time": "1m"} for query in queries
    ]
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({"tests": [{"interval": "1m", "promql_expr_test": queries_to_check}]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
