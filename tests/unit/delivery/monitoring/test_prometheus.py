"""The objects of ``monitoring=prometheus``: metric names, PromQL, scraping and runbooks."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import kubernetes_judge
import pytest
import yaml

from framework.core import metric_names as metrics
from framework.core import paths
from framework.core import yaml as ours
from framework.core.release import Release
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.delivery.monitoring.prometheus import Prometheus
from framework.manifests.identity import Identity
from framework.manifests.server_signals import GITUNE, TRITON, VLLM
from framework.manifests.workload import Workload
from framework.serving.telemetry.drift_watch import DriftWatch
from framework.serving.telemetry.metrics import Metrics

REPOSITORY = Path(__file__).parents[4]
RELEASE = Release.read(REPOSITORY / "tests" / "golden" / "tiny.lock")
SERVERS = {"ours": GITUNE, "vllm": VLLM, "triton": TRITON}
EXPORTERS = {
    "prometheus": {"up"},
    "cadvisor": {"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"},
    "kube-state-metrics": {"kube_pod_container_resource_limits"},
    "cert-manager": {"certmanager_certificate_expiration_timestamp_seconds"},
    "dcgm-exporter": {f"DCGM_FI_DEV_{name}" for name in ("GPU_UTIL", "GPU_TEMP", "FB_USED", "FB_FREE")},
    "vllm": {
        "http_requests_total",
        "vllm:e2e_request_latency_seconds_bucket",
        "vllm:kv_cache_usage_perc",
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:request_queue_time_seconds_bucket",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:request_success_total",
        *(
            f"vllm:request_{what}_tokens_{end}"
            for what in ("prompt", "generation")
            for end in ("sum", "count")
        ),
    },
    "triton": {
        "nv_inference_pending_request_count",
        "nv_inference_queue_summary_us",
        "nv_inference_request_failure",
        "nv_inference_request_success",
        "nv_inference_request_summary_us",
    },
}
WORDS = {"and", "or", "unless", "offset", "bool"}


def workload(signals=GITUNE, **changed):
    identity = Identity.of(RELEASE, "staging")
    default = Workload(identity, pod={}, files={}, service_port=80, start_seconds=60, signals=signals)
    return replace(default, **changed)


def environment():
    return Environment.model_validate(
        yaml.safe_load((paths.SHARE / "conf/environment/staging.yaml").read_text())
    )


def rendered(signals=GITUNE, **options):
    objects = Prometheus(**options).objects(workload(signals), environment())
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in objects}


def dashboards(signals=GITUNE):
    files = rendered(signals)["ConfigMap/tiny-dashboards"]["data"]
    return {name: json.loads(text) for name, text in files.items()}


def queries(signals):
    """Yield every query of rules and dashboards."""
    for group in rendered(signals)["PrometheusRule/tiny"]["spec"]["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for board in dashboards(signals).values():
        yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])


def metric_names(query):
    """Return the metrics in a query: its words except labels, durations, functions and operators."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|offset \w+|\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"(?<![\w:])[A-Za-z_:][\w:]*(?!\w)(?!\s*\()", bare)
    return {name for name in names if name not in WORDS}


def exposed():
    """Return all metrics that our own server exports."""
    exported = Metrics(RELEASE)
    exported.watch_memory("server", os.getpid)
    exported.watch_drift(DriftWatch(50))
    exported.reported("a", {"completed": True}, 5)
    exported.outbound.watch("redis", lambda: False)
    counters = (exported.requests, exported.timeouts, exported.bad_outputs)
    for counter in (*counters, exported.seconds):
        counter.labels(*["x"] * len(counter._labelnames))
    return {sample.name for family in exported.registry.collect() for sample in family.samples}


@pytest.mark.parametrize("signals", SERVERS.values(), ids=SERVERS)
def test_every_queried_metric_is_exported(signals):
    known = exposed() | metrics.RECORDED | {name for names in EXPORTERS.values() for name in names}
    for query in queries(signals):
        assert metric_names(query), query
        assert metric_names(query) <= known, query


def test_metric_names_are_extracted_from_a_query():
    assert metric_names(
        'sum by (pod) (rate(a:b_total{x="y{z"}[5m] offset 1w)) / on (pod) c > 0 or vector(0)'
    ) == {
        "a:b_total",
        "c",
    }


@pytest.mark.parametrize("signals", SERVERS.values(), ids=SERVERS)
def test_every_queried_recording_exists(signals):
    groups = rendered(signals)["PrometheusRule/tiny"]["spec"]["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert recorded <= metrics.RECORDED
    for query in queries(signals):
        assert {name for name in metric_names(query) if name.startswith("gitune:")} <= recorded, query
    if signals is GITUNE:
        assert recorded == metrics.RECORDED


@pytest.mark.parametrize("signals", SERVERS.values(), ids=SERVERS)
def test_every_query_is_valid_promql(signals, tmp_path, run_tool):
    rules = [{"record": f"query{number}", "expr": query} for number, query in enumerate(queries(signals))]
    (tmp_path / "rules.yaml").write_text(ours.dump({"groups": [{"name": "all", "rules": rules}]}))
    done = run_tool("promtool", "check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_pods_are_scraped_at_their_metrics_port():
    spec = rendered(labels={"release": "stack"}, scrape_seconds=30)["ServiceMonitor/tiny"]
    assert spec["metadata"]["labels"]["release"] == "stack"
    (endpoint,) = spec["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == ("http", "/metrics", "30s")
    assert spec["spec"]["selector"]["matchLabels"] == dict(workload().identity.selector)
    triton = workload(TRITON, ports={"metrics": 8002})
    monitor = Prometheus().objects(triton, environment())[0]
    assert monitor["spec"]["endpoints"][0]["port"] == "metrics"


def test_dashboards_and_routes_are_optional():
    optional = {"ConfigMap/tiny-dashboards", "AlertmanagerConfig/tiny"}
    assert optional & set(rendered(dashboards=False)) == set()
    assert optional <= set(rendered(alert_secret="alerts"))


def test_logs_are_kept_for_thirty_days():
    kept = rendered()["ConfigMap/tiny-log-retention"]["data"]["staging.yaml"]
    assert yaml.safe_load(kept) == {"overrides": {"staging": {"retention_period": "720h"}}}


def test_schemas_accept_every_object(tmp_path):
    for name, signals in SERVERS.items():
        for key, item in rendered(signals, alert_secret="alerts", labels={"release": "stack"}).items():
            (tmp_path / f"{name}-{key.replace('/', '-')}.yaml").write_text(ours.dump(item))
    assert kubernetes_judge.judge(tmp_path) == (15, [])


def test_every_alert_has_a_runbook_with_its_sections():
    folder = REPOSITORY / "docs" / "runbooks"
    groups = rendered()["PrometheusRule/tiny"]["spec"]["groups"]
    names = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert {path.stem for path in folder.glob("Gitune*.md")} == names
    for name in names:
        text = (folder / f"{name}.md").read_text()
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
            "Meaning",
            "Diagnosis",
            "Response",
        ]


def test_runbook_queries_are_valid_promql(tmp_path, run_tool):
    known = exposed() | metrics.RECORDED | {name for names in EXPORTERS.values() for name in names}
    books = [book.read_text() for book in (REPOSITORY / "docs" / "runbooks").glob("Gitune*.md")]
    lines = [
        line
        for text in books
        for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) > len(books)
    for query in lines:
        assert metric_names(query) <= known, query
    rules = [{"record": f"query{number}", "expr": query} for number, query in enumerate(lines)]
    (tmp_path / "rules.yaml").write_text(ours.dump({"groups": [{"name": "all", "rules": rules}]}))
    done = run_tool("promtool", "check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_runbook_commands_work_without_optional_operators():
    always = {
        "certificate",
        "certificaterequest",
        "challenge",
        "order",
    }  # cert-manager installs all of its kinds
    always |= {"endpointslices", "events", "hpa", "pods", "service"}
    books = (REPOSITORY / "docs" / "runbooks").glob("Gitune*.md")
    kind_lists = [
        kinds
        for book in books
        for kinds in re.findall(r"kubectl -n \S+(?: namespace>)? get (\S+)", book.read_text())
    ]
    assert len(kind_lists) >= 8
    # kubectl returns nothing for several kinds if the cluster lacks one of them.
    assert [kinds for kinds in kind_lists if "," in kinds and not set(kinds.split(",")) <= always] == []


def test_option_file_has_the_defaults():
    option = yaml.safe_load((paths.SHARE / "conf/monitoring/prometheus.yaml").read_text())
    assert Monitoring.model_validate(option) == Prometheus()
    assert Prometheus().query_url == "http://prometheus-operated.monitoring.svc:9090"


@pytest.mark.parametrize("namespace", ["monitoring", "observability"])
def test_network_policy_always_lets_prometheus_in(render_with, namespace):
    target = {
        "image": f"registry.example.com/server@sha256:{'5' * 64}",
        "ingress_from": [{"pods": {"app": "web"}}],
    }
    monitoring = ("prometheus", {"dashboards": False, "prometheus_namespace": namespace})
    texts = render_with(deployment=("kubernetes", target), monitoring=monitoring)
    (rule,) = yaml.safe_load(texts["production/tiny/networkpolicy-tiny.yaml"])["spec"]["ingress"]
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "web"}}}, prometheus]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
