"""OpenAI's chat API over HTTP: answers, errors, authentication and cancellation."""

import concurrent.futures
import json
import socket
import time

import httpx
import openai
import pytest
from server_process import HELLO, Served, eventually, serving

from framework.core import metric_names as metrics


def test_answer_and_usage_equal_the_engines(chat, expected) -> None:
    prompt, tokens, text = expected
    answer = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24)
    assert answer.choices[0].message.content == text
    assert answer.choices[0].finish_reason == ("length" if len(tokens) == 24 else "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, len(tokens))
    assert answer.usage.total_tokens == prompt + len(tokens)


def test_stream_concatenates_to_the_same_answer(chat, expected) -> None:
    prompt, tokens, text = expected
    chunks = list(
        chat.client.chat.completions.create(
            model="tiny",
            messages=HELLO,
            max_completion_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(deltas) == text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 5
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (prompt, len(tokens))


def test_stream_ends_with_done(chat) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, "stream": True}
    answer = httpx.post(f"{chat.url}/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")


def test_stop_text_ends_the_answer(chat, expected) -> None:
    text = expected[2]
    stop = text[2:4]
    answer = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24, stop=stop)
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_temperature_enables_sampling(chat, expected) -> None:
    def ask(**options) -> str | None:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 24, **options}
        return chat.client.chat.completions.create(**body).choices[0].message.content

    assert ask(temperature=0) == expected[2]
    assert ask(temperature=2, seed=1) == ask(temperature=2, seed=1)
    assert ask(temperature=2, seed=1) != ask(temperature=2, seed=2)


def test_model_is_listed(chat) -> None:
    (model,) = chat.client.models.list().data
    assert (model.id, model.owned_by) == ("tiny", "gitune")
    assert chat.client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="'tiny'"):
        chat.client.models.retrieve("gpt-4")


def test_errors_are_openai_client_errors(chat) -> None:
    ask = chat.client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(model="gpt-4", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as negative:
        ask(model="tiny", messages=HELLO, max_tokens=-1)
    assert negative.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError) as long:
        ask(model="tiny", messages=[{"role": "user", "content": "hello " * 300}])
    assert long.value.code == "context_length_exceeded"
    assert "256" in long.value.message
    with pytest.raises(openai.BadRequestError, match="256"):
        ask(model="tiny", messages=[{"role": "user", "content": "z" * 200}], max_tokens=60, stream=True)
    for path, code in (("/v1/nothing", 404), ("/v1/chat/completions", 405)):
        answer = httpx.get(f"{chat.url}{path}")
        assert answer.status_code == code
        assert answer.json()["error"]["type"] == "invalid_request_error"
    huge = httpx.post(f"{chat.url}/v1/chat/completions", content=b" " * (5 * 2**20))
    assert huge.status_code == 413


def test_concurrent_requests_get_their_own_answers(chat) -> None:
    assert_no_mix_up(chat)


def test_openvino_release_answers_several_at_once(tiny_openvino, tmp_path, expected) -> None:
    pytest.importorskip("openvino_genai")
    options = {"max_batch_size": 8, "max_new_tokens": 64, "max_wait_seconds": 60}
    with serving(tiny_openvino, "openvino", "causal-lm", tmp_path, **options) as served:
        answer = served.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24)
        assert answer.choices[0].message.content == expected[2]
        assert_no_mix_up(served)
        rows = served.sample(f"{metrics.BATCH_ROWS}_sum") / served.sample(f"{metrics.BATCH_ROWS}_count")
        assert rows > 1.5, "no requests shared a batch"


def assert_no_mix_up(served: Served) -> None:
    """Each of several different requests gets the same answer alone and beside the others."""
    texts = [f"hello {word}" for word in ("a", "b", "c", "d", "e", "f")]

    def ask(text: str) -> str | None:
        messages = [{"role": "user", "content": text}]
        answer = served.client.chat.completions.create(model="tiny", messages=messages, max_tokens=48)
        return answer.choices[0].message.content

    sequential = [ask(text) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, texts * 5)) == sequential * 5
    assert len(set(sequential)) > 1


def test_api_key_is_required_if_set(tiny_genai, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITUNE_API_KEY", "s3cret\n")  # editors end a file with a newline
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        with pytest.raises(openai.AuthenticationError, match="API key"):
            served.client.models.list()
        with served.client.with_options(api_key="s3cret") as client:
            answer = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        assert served.status("/metrics") == 200


@pytest.mark.parametrize("stream", [True, False])
def test_disconnect_cancels_the_answer(chat, expected, stream) -> None:
    # Sampled tokens rarely end early, so each of these answers would be long.
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 64, "temperature": 2, "seed": 1}
    started = time.monotonic()
    httpx.post(f"{chat.url}/v1/chat/completions", json=body)
    one_answer = time.monotonic() - started
    raw = json.dumps({**body, "stream": stream}).encode()
    timeouts = chat.sample(metrics.TIMEOUTS)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", chat.port)) as connection:
            connection.sendall(head.encode() + raw)
    started = time.monotonic()
    assert eventually(lambda: chat.sample(metrics.IN_FLIGHT) == 0)
    answer = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=24)
    assert answer.choices[0].message.content == expected[2]
    assert time.monotonic() - started < 10 * one_answer, "canceled answers were still generated"
    assert eventually(lambda: chat.sample(metrics.TIMEOUTS) > timeouts)
    assert eventually(lambda: chat.sample(metrics.WAITING) == 0)
