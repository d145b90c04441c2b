"""The same queries for each server's own metrics, evaluated by promtool."""

import shutil
import subprocess

import pytest

from framework.core import yaml
from framework.manifests.server_signals import GITUNE, TRITON, VLLM

A, B = ('namespace="n",pod="a"', 'namespace="n",pod="b"')
SELECTOR = 'namespace="n"'
"""Ten requests per second, one of them fails; answers take 2 to 4 seconds; three wait."""


def ours(pod):
    buckets = {bound: f"0+{step}x20" for bound, step in (("2.5", 297), ("5", 300), ("+Inf", 300))}
    return {
        f'gitune_requests_total{{{pod},code="200"}}': "0+270x20",
        f'gitune_requests_total{{{pod},code="503"}}': "0+30x20",
        f"gitune_timeouts_total{{{pod}}}": "0+15x20",
        **{f'gitune_request_seconds_bucket{{{pod},le="{bound}"}}': v for bound, v in buckets.items()},
        f"gitune_requests_in_flight{{{pod}}}": "4x20",
        f"gitune_requests_waiting{{{pod}}}": "3x20",
        f"gitune_oldest_waiting_seconds{{{pod}}}": "1.5x20",
        f"gitune_bad_outputs_total{{{pod}}}": "0+30x20",
        f"gitune_request_completion_tokens_count{{{pod}}}": "0+300x20",
        f"gitune_request_completion_tokens_sum{{{pod}}}": "0+6000x20",
    }


def vllm(pod):
    buckets = {bound: f"0+{step}x20" for bound, step in (("2.5", 297), ("5", 300), ("+Inf", 300))}
    waits = {bound: f"0+{step}x20" for bound, step in (("1.5", 297), ("2", 300), ("+Inf", 300))}
    chat = f'{pod},handler="/v1/chat/completions",method="POST"'
    return {
        f'http_requests_total{{{chat},status="2xx"}}': "0+270x20",
        f'http_requests_total{{{chat},status="5xx"}}': "0+30x20",
        f'http_requests_total{{{pod},handler="/metrics",method="GET",status="2xx"}}': "0+60x20",
        f'http_requests_total{{{pod},handler="/v1/models",method="GET",status="2xx"}}': "0+60x20",
        f'vllm:request_success_total{{{pod},finished_reason="abort"}}': "0+15x20",
        f'vllm:request_success_total{{{pod},finished_reason="length"}}': "0+30x20",
        f'vllm:request_success_total{{{pod},finished_reason="stop"}}': "0+255x20",
        **{
            f'vllm:e2e_request_latency_seconds_bucket{{{pod},le="{bound}"}}': v
            for bound, v in buckets.items()
        },
        **{f'vllm:request_queue_time_seconds_bucket{{{pod},le="{bound}"}}': v for bound, v in waits.items()},
        f"vllm:num_requests_running{{{pod}}}": "1x20",
        f"vllm:num_requests_waiting{{{pod}}}": "3x20",
        f"vllm:kv_cache_usage_perc{{{pod}}}": "0.25x20",
        f"vllm:request_generation_tokens_count{{{pod}}}": "0+300x20",
        f"vllm:request_generation_tokens_sum{{{pod}}}": "0+6000x20",
    }


def triton(pod):
    model = f'{pod},model="m",version="1"'
    return {
        f"nv_inference_request_success{{{model}}}": "0+270x20",
        f'nv_inference_request_failure{{{model},reason="BACKEND"}}': "0+30x20",
        f'nv_inference_request_summary_us{{{model},quantile="0.5"}}': "2100000x20",
        f'nv_inference_request_summary_us{{{model},quantile="0.99"}}': "2500000x20",
        f'nv_inference_queue_summary_us{{{model},quantile="0.99"}}': "1500000x20",
        f"nv_inference_pending_request_count{{{model}}}": "3x20",
    }


SERVERS = {"ours": (GITUNE, ours), "vllm": (VLLM, vllm), "triton": (TRITON, triton)}


def twice(series):
    """Return the series of a pod behind two Services, which is scraped twice."""
    return {
        f'{key[:-1]},service="{service}",job="{service}"}}': values
        for key, values in series.items()
        for service in ("x", "x-canary")
    }


def promtool(folder, series, expected):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    queries = [
        {
            "expr": f"round(({query}) * 1000) / 1000",
            "eval_time": "10m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for query, value in expected
    ]
    inputs = [{"series": key, "values": values} for key, values in series.items()]
    test = {"interval": "30s", "input_series": inputs, "promql_expr_test": queries}
    (folder / "tests.yaml").write_text(yaml.dump({"tests": [test]}))
    command = ["promtool", "test", "rules", folder / "tests.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVERS)
def test_queries_of_each_server_give_the_same_values(name, tmp_path):
    signals, series = SERVERS[name]
    in_flight = 3 if name == "triton" else 4
    expected = [
        (signals.request_rate(SELECTOR), 20),
        (signals.error_share(SELECTOR), 0.1),
        (signals.latency(SELECTOR), 2.5),
        (signals.in_flight(SELECTOR), 2 * in_flight),
        (signals.load(SELECTOR), 6 if name == "vllm" else 2 * in_flight),
        (signals.queue_length(SELECTOR), 6),
        (signals.queue_seconds(SELECTOR), 1.5),
        (signals.request_rate(A), 10),
    ]
    if name != "triton":
        expected += [
            (signals.timeout_share(SELECTOR), 0.05),
            (signals.bad_share(SELECTOR), 0.1),
            (signals.mean(signals.completion_tokens, SELECTOR), 20),
        ]
    if name == "vllm":
        expected.append((signals.answer_use(SELECTOR), 0.5))
    promtool(tmp_path, twice(series(A)) | series(B), expected)


@pytest.mark.parametrize("name", SERVERS)
def test_shares_are_empty_without_requests(name, tmp_path):
    signals, _ = SERVERS[name]
    queries = [signals.error_share(SELECTOR), signals.timeout_share(SELECTOR), signals.bad_share(SELECTOR)]
    promtool(tmp_path, {}, [(query, None) for query in queries if query is not None])


@pytest.mark.parametrize("name", SERVERS)
def test_shares_are_zero_without_failures(name, tmp_path):
    signals, series = SERVERS[name]
    healthy = {
        key: values
        for key, values in series(A).items()
        if not any(
            word in key for word in ("503", "5xx", "failure", "timeouts", "abort", "bad_outputs", "length")
        )
    }
    queries = [signals.error_share(SELECTOR), signals.timeout_share(SELECTOR), signals.bad_share(SELECTOR)]
    promtool(tmp_path, healthy, [(query, 0) for query in queries if query is not None])


def test_triton_has_no_text_metrics():
    assert TRITON.timeout_share(SELECTOR) is None
    assert TRITON.bad_share(SELECTOR) is None
