"""A real Prometheus watches a server under load: every rule and panel finds what it asks for."""

import concurrent.futures
import contextlib
import os
import re
import signal
import threading

import debian_servers
import httpx
import pytest
from prometheus_process import needs_prometheus, prometheus, values_of
from server_process import HELLO, Served, descendants, eventually, serving, stopped

from framework.core import metric_names as metrics
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import GITUNE

pytestmark = [pytest.mark.slow, needs_prometheus]

WATCHED = MonitoredRelease("tiny", "staging", GITUNE)
CHAT = "/v1/chat/completions"
OF_EXPORTERS = re.compile("container_|kube_|certmanager_|DCGM_")
"""What the server does not export: containers, GPUs and certificates."""
NOT_YET = {
    *(
        metrics.MEMORY_SHARE,
        metrics.CPU_SHARE,
        metrics.GPU_SHARE,
        metrics.GPU_MEMORY_SHARE,
        metrics.GPU_CELSIUS,
    ),
    *(metrics.REQUEST_BASELINE, metrics.REQUEST_RESIDUAL, metrics.REQUEST_FORECAST, metrics.REQUEST_BAND),
    metrics.BUSINESS_BASELINE,
}
"""What is recorded from exporters, or from weeks of history; promtool tests these rules."""


def body(text: str, **more: object) -> dict[str, object]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


def use_everything(served: Served) -> None:
    """Let each counter count: answers of all kinds, failures, jobs and feedback."""
    with httpx.Client(base_url=served.url, timeout=30) as client:
        client.post("/v1/jobs", json={"url": CHAT, "body": body("later")})
        for number in range(60):  # the first fifty are what is usual
            assert client.post(CHAT, json=body(f"{number % 9} words", stream=number % 2 == 0)).is_success
        assert client.post(CHAT, json={"model": "tiny", "messages": HELLO, "temperature": 2}).is_success
        answer = client.post(CHAT, json=body("hello")).json()
        for agreed in (True, False):
            said = dict.fromkeys(("completed", "converted", "returned"), agreed)
            report = {**said, "rating": 4, "system_fingerprint": answer["system_fingerprint"]}
            assert client.post("/v1/feedback", json=report).status_code == 204


def break_everything(served: Served) -> None:
    """Let a client give up, others be shed, and the model's process die on a request."""
    with concurrent.futures.ThreadPoolExecutor(24) as pool, httpx.Client(base_url=served.url) as client:
        with stopped(served):
            with pytest.raises(httpx.ReadTimeout):
                client.post(CHAT, json=body("who gives up", temperature=1), timeout=0.5)
            long = body("long", temperature=2, max_tokens=200)
            asked = [pool.submit(httpx.post, f"{served.url}{CHAT}", json=long, timeout=60) for _ in range(24)]
            assert eventually(lambda: served.sample(metrics.FALLBACKS, 'reason="shed"') > 0)
        for one in asked:
            one.result()
        for _ in range(5):  # no fallback answers these
            begun = served.sample(metrics.PROMPT_TOKENS)
            sent = {"model": "tiny", "prompt": "long", "n": 3, "max_tokens": 200, "temperature": 2}
            asked = [pool.submit(client.post, "/v1/completions", json=sent, timeout=60)]
            eventually(lambda begun=begun: served.sample(metrics.PROMPT_TOKENS) > begun, 10)
            for pid in descendants(served.process.pid):
                os.kill(pid, signal.SIGKILL)
            if asked[0].result().status_code == 503:
                break
            assert eventually(lambda: served.status("/ready") == 200)


def selectors(query: str) -> set[str]:
    """Return the series that a query reads, with their matchers."""
    return set(re.findall(r"[\w:]+\{[^}]*\}", query))


def test_selectors_are_found() -> None:
    assert selectors('sum(rate(a:b{c="d"}[5m] offset 1w)) / x{}') == {'a:b{c="d"}', "x{}"}


def test_every_rule_and_panel_joins_to_live_series(tiny_genai, tmp_path) -> None:
    rules = [rule["expr"] for group in groups(WATCHED, 3.0) for rule in group["rules"]]
    rules += [alert.query for alert in alerts(WATCHED, Bounds())]
    panels = [
        query for board in boards(WATCHED, Bounds()) for panel in board.panels for query, _ in panel.queries
    ]
    left_out = {
        series
        for query in (*rules, *panels)
        for series in selectors(query)
        if OF_EXPORTERS.match(series) or series.partition("{")[0] in NOT_YET
    }
    wanted = {series for query in (*rules, *panels) for series in selectors(query)} - left_out
    drawn = {query for query in panels if not selectors(query) & left_out and "[1d]" not in query}
    assert len(wanted) > 40
    assert len(drawn) > 30
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        _, redis = stack.enter_context(debian_servers.redis())
        options = {
            "cache": {"redis": redis},
            "drift": {"window": 50},
            "fallback": {"text": "Please try again."},
            "jobs": {},
            "max_new_tokens": 200,
            "max_wait_seconds": 0.01,
        }
        served = stack.enter_context(serving(tiny_genai, "genai", "causal-lm", tmp_path, **options))
        url = stack.enter_context(prometheus(folder, WATCHED, served.port))
        done = threading.Event()

        def use() -> None:
            while not done.is_set():
                use_everything(served)

        assert eventually(lambda: values_of(url, "up") == [1]), (folder / "log").read_text()
        use_everything(served)
        break_everything(served)
        assert eventually(lambda: served.status("/ready") == 200)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            load = pool.submit(use)
            try:
                silent = {*wanted, *drawn}

                def all_speak() -> bool:
                    silent.difference_update({query for query in silent if values_of(url, query)})
                    return not silent

                assert eventually(all_speak, 40), sorted(silent)
            finally:
                done.set()
                load.result()
