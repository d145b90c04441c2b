"""Another server answers what this one sheds."""

import concurrent.futures
import json

import httpx
import pytest
from server_process import HELLO, Served, eventually, free_port, serving, start, stopped, write_release

from framework.core import metric_names as metrics
from framework.serving.answers.answer_use import FALLBACK

ROUTE = "/v1/chat/completions"
BODY = {"model": "tiny", "messages": HELLO, "temperature": 2}
BUSY = {"max_wait_seconds": 0.05, "max_new_tokens": 200}


def overload(served, **fields):
    """Return the answers of a server whose model stands still until eight requests are shed."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool, stopped(served):
        bodies = [{**BODY, **fields, "seed": seed} for seed in range(16)]
        asked = [pool.submit(httpx.post, f"{served.url}{ROUTE}", json=body, timeout=60) for body in bodies]
        assert eventually(lambda: sum(answer.done() for answer in asked) >= 8)
    return [answer.result() for answer in asked]


@pytest.fixture(scope="module")
def backed(tiny_genai, chat, tmp_path_factory):
    """A busy server whose fallback is another one."""
    fallback = {"url": f"{chat.url}/v1", "model": "tiny"}
    folder = tmp_path_factory.mktemp("backed")
    with serving(tiny_genai, "genai", "causal-lm", folder, fallback=fallback, cache={}, **BUSY) as served:
        yield served


def test_other_server_answers_what_is_shed(backed, chat) -> None:
    answers = overload(backed)
    assert {answer.status_code for answer in answers} == {200}
    marked = [answer for answer in answers if FALLBACK in answer.headers]
    own = {answer.json()["system_fingerprint"] for answer in answers if FALLBACK not in answer.headers}
    assert len(marked) >= 8
    assert {answer.headers[FALLBACK] for answer in marked} == {"shed"}
    assert not {answer.json()["system_fingerprint"] for answer in marked} & own
    assert all(answer.json()["choices"][0]["message"]["content"] for answer in marked)
    used = [answer.json()["usage"] for answer in marked]
    assert all(each["prompt_tokens"] and each["completion_tokens"] for each in used)
    for kind in ("prompt", "completion"):
        counted = backed.sample(metrics.FALLBACK_TOKENS, f'kind="{kind}"')
        assert counted == sum(each[f"{kind}_tokens"] for each in used)
    assert not any("etag" in answer.headers for answer in marked)
    assert backed.sample(metrics.FALLBACKS, 'outcome="answered"', 'reason="shed"') == len(marked)
    assert backed.sample(metrics.OUTBOUND_CALLS, 'destination="fallback"', 'outcome="ok"') == len(marked)


def test_streams_have_a_fallback_too(backed) -> None:
    answers = overload(backed, stream=True, stream_options={"include_usage": True}, temperature=1)
    marked = [answer for answer in answers if FALLBACK in answer.headers]
    assert marked
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers)
    for answer in marked:
        *chunks, _ = answer.text.split("\n\n")[:-1]
        *pieces, last = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
        assert sum(bool(piece["choices"][0]["delta"].get("content")) for piece in pieces) > 1
        assert last["usage"]["prompt_tokens"] > 0
        assert last["usage"]["completion_tokens"] > 1


def test_a_field_that_the_other_server_cannot_be_asked_with_is_named(backed) -> None:
    refused = [answer for answer in overload(backed, top_k=5) if answer.status_code != 200]
    assert refused
    assert {answer.status_code for answer in refused} == {429}
    assert {answer.json()["error"]["param"] for answer in refused} == {"top_k"}
    assert all("Retry-After" in answer.headers for answer in refused)


@pytest.mark.slow
def test_a_substitute_is_named_in_responses_and_answers_no_jobs(tiny_genai, tmp_path) -> None:
    options = {**BUSY, "fallback": {"text": "Busy"}, "jobs": {}}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        responses = f"{served.url}/v1/responses"
        sent = {"model": "tiny", "input": "hello world", "max_output_tokens": 8}
        with concurrent.futures.ThreadPoolExecutor(16) as pool, stopped(served):
            asked = [
                pool.submit(httpx.post, f"{served.url}{ROUTE}", json=BODY, timeout=60) for _ in range(16)
            ]
            assert eventually(lambda: any(answer.done() for answer in asked))
            shed = httpx.post(responses, json=sent)
            assert (shed.headers[FALLBACK], shed.json()["model"]) == ("shed", "fallback")
            created = httpx.post(responses, json={**sent, "background": True}).json()["id"]
            counted = served.sample(metrics.REQUESTS, 'route="/v1/responses"', 'code="429"')
            assert eventually(
                lambda: served.sample(metrics.REQUESTS, 'route="/v1/responses"', 'code="429"') > counted
            )

        def job():
            return httpx.get(f"{responses}/{created}").json()

        assert eventually(lambda: job()["status"] == "incomplete")
        assert (job()["model"], job()["usage"]["output_tokens"]) == ("tiny", 8)


@pytest.mark.slow
def test_server_that_is_its_own_fallback_does_not_ask_itself_forever(tiny_genai, tmp_path) -> None:
    port = free_port()
    options = {**BUSY, "port": port, "fallback": {"url": f"http://127.0.0.1:{port}/v1", "model": "tiny"}}
    write_release(tiny_genai, "genai", "causal-lm", tmp_path, **options)
    served = Served(start(tmp_path), port)
    try:
        assert eventually(lambda: served.status("/ready") == 200)
        answers = overload(served)
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all("Retry-After" in answer.headers for answer in refused)
        assert served.sample(metrics.FALLBACKS, 'outcome="unanswered"', 'reason="shed"') == len(refused)
    finally:
        served.process.terminate()
        served.process.communicate(timeout=30)
