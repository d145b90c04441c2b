"""The objects of each autoscaling option, and what it refuses."""

import json
import shutil
import subprocess

import pytest
import yaml

from framework.core.errors import PlanError

PINNED = ("kubernetes", {"image": f"registry.example.com/server@sha256:{'5' * 64}"})


@pytest.fixture
def rendered(render_with, measured):
    def render(**chosen):
        texts = render_with(**{"deployment": PINNED, "monitoring": measured, **chosen})
        items = [yaml.safe_load(text) for name, text in texts.items() if name.endswith("yaml")]
        return {item["kind"]: item for item in items}

    return render


def test_hpa_targets_cpu_and_scales_down_slowly(rendered):
    spec = rendered()["HorizontalPodAutoscaler"]["spec"]
    (metric,) = spec["metrics"]
    assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)


def test_hpa_scales_on_custom_metrics(rendered):
    targets = {"waiting_per_pod": 4, "requests_per_pod": 0.5, "p99_seconds": 2.5}
    spec = rendered(autoscaling=("hpa", targets))["HorizontalPodAutoscaler"]["spec"]
    custom = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in spec["metrics"][1:]}
    assert custom == {
        "gitune_waiting": "4",
        "gitune_requests_per_second": "500m",
        "gitune_p99_seconds": "2500m",
    }


@pytest.mark.parametrize(("spare", "least"), [(0, 2), (3, 5), (20, 10)])
def test_spare_pods_are_limited_by_the_maximum(rendered, spare, least):
    hpa = rendered(autoscaling=("hpa", {"spare_replicas": spare}))["HorizontalPodAutoscaler"]["spec"]
    keda = rendered(autoscaling=("keda", {"spare_replicas": spare}))["ScaledObject"]["spec"]
    assert hpa["minReplicas"] == keda["minReplicaCount"] == keda["fallback"]["replicas"] == least


def test_keda_queries_prometheus_with_a_fallback(rendered):
    targets = {"requests_per_pod": 20, "p99_seconds": 2.5}
    spec = rendered(autoscaling=("keda", targets))["ScaledObject"]["spec"]
    triggers = {trigger["name"]: trigger for trigger in spec["triggers"]}
    assert triggers["cpu"]["metadata"] == {"value": "70"}
    thresholds = {name: t["metadata"]["threshold"] for name, t in triggers.items() if name != "cpu"}
    assert thresholds == {"waiting": "4", "requests": "20", "p99": "2.5"}
    # A percentile does not halve with twice the pods.
    assert {name: t["metricType"] for name, t in triggers.items()}["p99"] == "Value"
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    shrink = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert shrink["stabilizationWindowSeconds"] == 300


@pytest.mark.parametrize(("p99", "names"), [(None, ["cpu"]), (2.5, ["cpu", "p99"])])
def test_keda_without_average_value_has_no_fallback(rendered, p99, names):
    chosen = {"waiting_per_pod": None, "p99_seconds": p99}
    spec = rendered(autoscaling=("keda", chosen))["ScaledObject"]["spec"]
    assert [trigger["name"] for trigger in spec["triggers"]] == names
    assert "fallback" not in spec


def test_keda_without_monitoring_is_refused(rendered):
    with pytest.raises(PlanError) as caught:
        rendered(autoscaling="keda", monitoring="none")
    (problem,) = caught.value.problems
    assert problem.overrides == ("monitoring=prometheus", "autoscaling=hpa")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_keda_counts_own_pods_once(rendered, tmp_path):
    spec = rendered(autoscaling="keda")["ScaledObject"]["spec"]
    query = next(t["metadata"]["query"] for t in spec["triggers"] if t["name"] == "waiting")
    pods = [
        ("tiny-6b9f-x7k2p", "tiny"),
        ("tiny-6b9f-x7k2p", "tiny-canary"),  # the same pod, behind a second Service
        ("tiny-5c8d-q1w2e", "tiny"),
        ("tiny-chat-6b9f-x7k2p", "tiny-chat"),  # another release
    ]
    named = 'gitune_requests_in_flight{{namespace="gitune-production",pod="{}",service="{}"}}'
    series = [{"series": named.format(pod, of), "values": "3x4"} for pod, of in pods]
    sample = {"labels": "{}", "value": 6}
    test = {"expr": query, "eval_time": "1m", "exp_samples": [sample]}
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({"tests": [{"input_series": series, "promql_expr_test": [test]}]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


VLLM = ("vllm", {"image": PINNED[1]["image"], "fetch_image": PINNED[1]["image"]})
ON_GPU = ("kubernetes", {**PINNED[1], "gpus": 1})


def test_vllm_is_scaled_on_its_queue_and_cache(rendered):
    spec = rendered(deployment=VLLM, release={"engine": "torch"}, autoscaling="keda")["ScaledObject"]["spec"]
    triggers = {trigger["name"]: trigger["metadata"] for trigger in spec["triggers"]}
    thresholds = {name: metadata["threshold"] for name, metadata in triggers.items()}
    assert thresholds == {"waiting": "4", "cache": "0.7"}
    assert "vllm:num_requests_waiting{" in triggers["waiting"]["query"]
    assert "running" not in triggers["waiting"]["query"]  # a batch has any size
    assert "vllm:kv_cache_usage_perc{" in triggers["cache"]["query"]
    assert spec["fallback"]["replicas"] == 2


@pytest.mark.parametrize(("option", "named"), [("keda", ["waiting"]), ("hpa", ["gitune_waiting"])])
def test_pods_with_gpus_are_not_scaled_on_cpu(rendered, option, named):
    objects = rendered(deployment=ON_GPU, autoscaling=(option, {"waiting_per_pod": 4}))
    scaled = objects.get("ScaledObject") or objects["HorizontalPodAutoscaler"]
    names = [trigger["name"] for trigger in scaled["spec"].get("triggers", ())]
    names += [metric["pods"]["metric"]["name"] for metric in scaled["spec"].get("metrics", ())]
    assert names == named


@pytest.mark.parametrize("deployment", [VLLM, ON_GPU])
def test_cpu_as_the_only_target_is_refused_on_gpus(rendered, deployment):
    with pytest.raises(PlanError) as caught:
        rendered(deployment=deployment, autoscaling="hpa")
    (problem,) = caught.value.problems
    assert problem.key == "autoscaling"
    assert problem.overrides[0] == "autoscaling=keda monitoring=prometheus"
    with pytest.raises(PlanError) as caught:
        rendered(deployment=deployment, autoscaling=("keda", {"waiting_per_pod": None}))
    assert caught.value.problems[0].overrides == ("autoscaling.waiting_per_pod=4",)


@pytest.mark.parametrize(("count", "replicas"), [(None, 2), (7, 7)])
def test_fixed_number_is_held_without_metrics(rendered, count, replicas):
    scaler = rendered(autoscaling=("fixed", {"count": count}))["HorizontalPodAutoscaler"]
    assert scaler["spec"]["minReplicas"] == scaler["spec"]["maxReplicas"] == replicas
    assert scaler["metadata"]["annotations"]["argocd.argoproj.io/ignore-healthcheck"] == "true"


@pytest.mark.parametrize(("kind", "rollout"), [("Deployment", "rolling"), ("Rollout", "blue-green")])
def test_change_of_the_autoscaler_keeps_the_pods(rendered, kind, rollout):
    """Argo CD applies on the server's side: a field that it owned and that goes is reset to its default."""
    fixed, hpa, keda = (rendered(autoscaling=option, rollout=rollout) for option in ("fixed", "hpa", "keda"))
    assert fixed[kind] == hpa[kind] == keda[kind]
    assert "replicas" not in fixed[kind]["spec"]
    name = "HorizontalPodAutoscaler"
    assert fixed[name]["metadata"]["name"] == hpa[name]["metadata"]["name"]  # updated, never deleted
    assert fixed[name]["spec"]["scaleTargetRef"] == hpa[name]["spec"]["scaleTargetRef"]


@pytest.mark.parametrize("option", ["fixed", "hpa", "keda"])
@pytest.mark.parametrize(
    ("rollout", "kind", "version"),
    [("rolling", "Deployment", "apps/v1"), ("blue-green", "Rollout", "argoproj.io/v1alpha1")],
)
def test_scaler_targets_the_workload_with_its_budget(rendered, option, rollout, kind, version):
    objects = rendered(autoscaling=option, rollout=rollout)
    scaler = objects.get("HorizontalPodAutoscaler") or objects["ScaledObject"]
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": version, "kind": kind, "name": "tiny"}
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
