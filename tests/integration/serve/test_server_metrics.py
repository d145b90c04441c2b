"""The Prometheus metrics of a running server."""

import re

import httpx
import openai
import pytest
from server_process import HELLO

from framework.core import metric_names as metrics
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import GITUNE


def test_metrics_count_requests(chat, expected) -> None:
    before = {name: chat.sample(name) for name in (metrics.PROMPT_TOKENS, metrics.COMPLETION_TOKENS)}
    ok = ('code="200"', 'route="/v1/chat/completions"')
    succeeded = chat.sample(metrics.REQUESTS, *ok)
    chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24)
    with pytest.raises(openai.NotFoundError):
        chat.client.chat.completions.create(model="none", messages=HELLO)
    assert chat.sample(metrics.REQUESTS, *ok) == succeeded + 1
    assert chat.sample(metrics.REQUESTS, 'code="404"') >= 1
    assert chat.sample(metrics.PROMPT_TOKENS) == before[metrics.PROMPT_TOKENS] + expected[0]
    assert chat.sample(metrics.COMPLETION_TOKENS) == before[metrics.COMPLETION_TOKENS] + len(expected[1])
    assert chat.sample(f"{metrics.FIRST_TOKEN_SECONDS}_count") >= 1
    assert chat.sample(metrics.IN_FLIGHT) == 0
    assert chat.sample(metrics.READY) == 1
    assert chat.sample(metrics.RELEASE_INFO, 'release="tiny"', 'engine="genai"') == 1
    assert chat.sample(metrics.WAITING) == chat.sample(metrics.OLDEST_WAITING_SECONDS) == 0
    # Only the model's process holds an engine and a tokenizer.
    assert chat.sample(metrics.MEMORY_BYTES, 'process="model"') > 20e6
    assert chat.sample(metrics.MEMORY_BYTES, 'process="server"') > 20e6


def test_waits_and_steps_are_timed(chat, expected) -> None:
    names = (metrics.INTER_TOKEN_SECONDS, metrics.QUEUE_TIME_SECONDS, metrics.FIRST_TOKEN_SECONDS)
    counts = [chat.sample(f"{name}_count") for name in names]
    steps = chat.sample(f"{metrics.ENGINE_STEP_SECONDS}_count")
    stream = {"model": "tiny", "messages": HELLO, "max_tokens": 24, "stream": True}
    pieces = [piece for piece in chat.client.chat.completions.create(**stream) if piece.choices]
    tokens, queued, first = (chat.sample(f"{name}_count") for name in names)
    assert (queued, first) == (counts[1] + 1, counts[2] + 1)
    assert len(pieces) - 3 <= tokens - counts[0] < len(expected[1])  # without the first one's
    assert chat.sample(f"{metrics.ENGINE_STEP_SECONDS}_count") >= steps + len(expected[1])
    assert chat.sample(f"{metrics.QUEUE_TIME_SECONDS}_sum") <= chat.sample(f"{names[2]}_sum")


def test_every_rule_and_panel_joins_to_a_live_metric(chat) -> None:
    watched = MonitoredRelease("tiny", "staging", GITUNE)
    rules = [rule["expr"] for group in groups(watched, 3.0) for rule in group["rules"]]
    rules += [alert.query for alert in alerts(watched, Bounds())]
    rules += [
        query for board in boards(watched, Bounds()) for panel in board.panels for query, _ in panel.queries
    ]
    queried = {name for rule in rules for name in re.findall(r"\bgitune_\w+", rule)}
    body = {"model": "tiny", "messages": HELLO, "temperature": 2}
    assert httpx.post(f"{chat.url}/v1/chat/completions", json=body).status_code == 200
    report = {"completed": True, "converted": True, "returned": True, "rating": 5}
    report["system_fingerprint"] = f"fp_{'b' * 12}"
    assert httpx.post(f"{chat.url}/v1/feedback", json=report).status_code == 204
    live = set(re.findall(r"^(gitune_\w+)", httpx.get(f"{chat.url}/metrics").text, re.MULTILINE))
    declared = set(re.findall(r"^# TYPE (gitune_\w+)", httpx.get(f"{chat.url}/metrics").text, re.MULTILINE))
    assert len(queried) > 15
    # A counter with labels has no sample before its first event, this release was not measured, and this
    # server has no jobs and calls no others: test_jobs and test_cache look at some that do.
    silent = {metrics.BAD_OUTPUTS, metrics.JOBS_ENDED, metrics.TIMEOUTS, metrics.RELEASE_METRIC}
    assert queried - live <= silent | {metrics.BREAKER_OPEN, metrics.OUTBOUND_CALLS}
    assert queried - live <= declared


def test_lengths_and_bad_outputs_are_counted(chat, expected) -> None:
    def count_and_sum(name: str) -> tuple[float, float]:
        return chat.sample(f"{name}_count"), chat.sample(f"{name}_sum")

    prompts = count_and_sum(metrics.REQUEST_PROMPT_TOKENS)
    completions = count_and_sum(metrics.REQUEST_COMPLETION_TOKENS)
    cut = chat.sample(metrics.BAD_OUTPUTS, 'reason="cut"')
    body = {"model": "tiny", "messages": HELLO, "temperature": 2, "seed": 1}
    # Sampled tokens rarely end early: the first answer reaches the client's limit, the others the server's.
    answer = httpx.post(f"{chat.url}/v1/chat/completions", json={**body, "max_tokens": 8}).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert chat.sample(metrics.BAD_OUTPUTS, 'reason="cut"') == cut
    assert count_and_sum(metrics.REQUEST_PROMPT_TOKENS) == (prompts[0] + 1, prompts[1] + expected[0])
    assert count_and_sum(metrics.REQUEST_COMPLETION_TOKENS) == (completions[0] + 1, completions[1] + 8)
    for run in (1, 2):
        assert httpx.post(f"{chat.url}/v1/chat/completions", json=body).status_code == 200
        assert chat.sample(metrics.BAD_OUTPUTS, 'reason="cut"') == cut + run
        assert chat.sample(metrics.BAD_OUTPUTS_IN_A_ROW) == run
    httpx.post(f"{chat.url}/v1/chat/completions", json={**body, "max_tokens": 8})
    assert chat.sample(metrics.BAD_OUTPUTS_IN_A_ROW) == 0
    assert chat.sample(f"{metrics.OUTPUT_DIVERSITY}_count") >= 4


def test_feedback_is_counted_by_version(chat) -> None:
    def report(**body: object) -> httpx.Response:
        return httpx.post(f"{chat.url}/v1/feedback", json=body)

    completion = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
    version = f'version="{str(completion.system_fingerprint).removeprefix("fp_")}"'
    names = [("completed", "yes"), ("completed", "no"), ("converted", "no")]

    def counts() -> list[float]:
        asked = [(f'question="{question}"', f'answer="{answer}"', version) for question, answer in names]
        given = [chat.sample(metrics.FEEDBACK, *labels) for labels in asked]
        return [*given, chat.sample(f"{metrics.RATING}_sum", version)]

    before = counts()  # other tests use this server
    assert report(completed=True, converted=False, rating=4).status_code == 204
    assert report(completed=False, system_fingerprint=completion.system_fingerprint).status_code == 204
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [1, 1, 1, 4]
    assert report(completed=True, system_fingerprint=f"fp_{'a' * 12}").status_code == 204
    assert chat.sample(metrics.FEEDBACK, f'version="{"a" * 12}"') == 1
    for invalid in ({}, {"completed": "yes"}, {"rating": 6}, {"correction": "fine"}):
        refused = report(**invalid)
        assert refused.status_code == 400
        assert refused.json()["error"]["message"]
