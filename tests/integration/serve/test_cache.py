"""The answer cache of real servers, on a real Redis that is slow, wrong or killed."""

import concurrent.futures
import json
import random
import threading
import time

import httpx
import pytest
from redis_process import needs_redis, running_redis
from server_process import eventually, serving, stopped

from framework.core import metric_names as metrics
from framework.serving.answers.answer_use import SOURCE
from framework.serving.answers.redis_cache import PREFIX

ROUTE = "/v1/chat/completions"
pytestmark = needs_redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def cached(tiny_genai, redis, tmp_path_factory):
    """A server of the tiny chat model with a cache in memory and in Redis."""
    cache = {"memory_mib": 1, "redis": redis.url}
    folder = tmp_path_factory.mktemp("cached")
    with serving(tiny_genai, "genai", "causal-lm", folder, cache=cache, max_new_tokens=64) as served:
        yield served


def ask(served, text, headers=None, timeout=30, **fields):
    messages = [{"role": "user", "content": text}]
    body = {"model": "tiny", "messages": messages, "max_tokens": 12, **fields}
    return httpx.post(f"{served.url}{ROUTE}", json=body, headers=headers, timeout=timeout)


def content(answer):
    """Return what does not differ from one answer to the next."""
    assert answer.status_code == 200, answer.text
    return {key: value for key, value in answer.json().items() if key not in ("id", "created")}


def pieces(answer):
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line)["choices"] for line in lines]


def test_second_answer_needs_no_model(cached) -> None:
    first = ask(cached, "hello")
    tokens = cached.sample(metrics.COMPLETION_TOKENS)
    with stopped(cached):
        second = ask(cached, "hello")
    assert content(first) == content(second)
    assert first.json()["id"] != second.json()["id"]
    assert (first.headers[SOURCE], second.headers[SOURCE]) == ("model", "memory")
    assert cached.sample(metrics.COMPLETION_TOKENS) == tokens
    assert cached.sample(metrics.CACHE_BYTES) > 100
    assert cached.sample(metrics.CACHE_ANSWERS, 'source="memory"') >= 1


def test_stream_replays_its_events(cached) -> None:
    first, second = (ask(cached, "stream me", stream=True) for _ in range(2))
    assert (first.headers[SOURCE], second.headers[SOURCE]) == ("model", "memory")
    assert len(pieces(first)) > 3
    assert pieces(first) == pieces(second)
    whole = ask(cached, "stream me")
    assert whole.headers[SOURCE] == "memory"
    text = "".join(choices[0]["delta"].get("content", "") for choices in pieces(first))
    assert whole.json()["choices"][0]["message"]["content"] == text


def test_equal_requests_are_computed_once(cached) -> None:
    count = 8
    with concurrent.futures.ThreadPoolExecutor(count) as pool, stopped(cached):
        asked = [pool.submit(ask, cached, "together") for _ in range(count)]
        # All have arrived before the model goes on.
        assert eventually(lambda: cached.sample(metrics.IN_FLIGHT) == count)
        assert cached.sample(metrics.WAITING) == 1
    answers = [answer.result() for answer in asked]
    assert len({json.dumps(content(answer)) for answer in answers}) == 1
    assert sorted(answer.headers[SOURCE] for answer in answers) == ["joined"] * (count - 1) + ["model"]


def test_other_servers_find_it_in_redis_and_do_without(cached, redis, tiny_genai, tmp_path) -> None:
    cache = {"memory_mib": 0, "redis": redis.url}
    first = {text: ask(cached, text) for text in ("shared", "damaged")}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, cache=cache, max_new_tokens=64) as other:
        found = ask(other, "shared")
        assert (found.headers[SOURCE], content(found)) == ("redis", content(first["shared"]))
        with redis.client as client:
            for key in client.scan_iter(f"{PREFIX}*"):
                client.append(key, b"x")
        again = ask(other, "damaged")
        assert (again.headers[SOURCE], content(again)) == ("model", content(first["damaged"]))
        assert other.sample(metrics.CACHE_ERRORS, 'reason="damaged"') == 1
        assert ask(other, "damaged").headers[SOURCE] == "redis"  # it was written anew
        with redis.suspended():
            assert ask(other, "shared").headers[SOURCE] == "model"
        redis.kill()
        for _ in range(6):
            assert content(ask(other, "shared")) == content(first["shared"])
        assert other.sample(metrics.CACHE_ERRORS, 'reason="unreachable"') >= 7
        assert other.sample(metrics.BREAKER_OPEN, 'destination="redis"') == 1
        assert other.sample(metrics.REQUESTS, 'code="5') == 0
        redis.start()


def test_clients_are_told_how_long_an_answer_lasts(cached) -> None:
    answer = ask(cached, "tagged")
    tag = answer.headers["etag"]
    assert answer.headers["cache-control"] == "public, max-age=300, s-maxage=3600"
    with stopped(cached):
        kept = ask(cached, "tagged", {"If-None-Match": f'"x", {tag}'})
    assert (kept.status_code, kept.headers["etag"], kept.content) == (304, tag, b"")
    assert ask(cached, "else", {"If-None-Match": tag}).status_code == 200
    for headers in ({"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=0"}):
        fresh = ask(cached, "tagged", {**headers, "If-None-Match": tag})
        assert (fresh.status_code, fresh.headers[SOURCE]) == (200, "model")
    unkept = ask(cached, "secret", {"Cache-Control": "no-store"})
    assert (unkept.headers[SOURCE], "etag" in unkept.headers) == ("bypassed", False)
    assert ask(cached, "secret").headers[SOURCE] == "model"
    for fields in ({"stream": True}, {"temperature": 1}, {"temperature": 3}):
        assert not {"etag", "cache-control"} & ask(cached, "tagged", **fields).headers.keys()
    assert "etag" in ask(cached, "tagged", temperature=1, seed=1).headers


def test_client_that_leaves_does_not_end_the_others_answer(cached) -> None:
    def ask_for_a_second():
        with pytest.raises(httpx.ReadTimeout):
            ask(cached, "leave", timeout=1)

    with concurrent.futures.ThreadPoolExecutor(2) as pool, stopped(cached):
        leader = pool.submit(ask_for_a_second)
        assert eventually(lambda: cached.sample(metrics.IN_FLIGHT) == 1)
        follower = pool.submit(ask, cached, "leave")
        assert eventually(lambda: cached.sample(metrics.IN_FLIGHT) == 2)
        leader.result()
        assert eventually(lambda: cached.sample(metrics.IN_FLIGHT) == 1)
    assert (follower.result().status_code, follower.result().headers[SOURCE]) == (200, "joined")


@pytest.mark.slow
def test_answers_are_right_while_redis_comes_and_goes(redis, tiny_genai, tmp_path) -> None:
    chance, texts = random.Random(12), [f"number {number}" for number in range(8)]
    done = threading.Event()

    def ask_on(served, seed):
        order, answers = random.Random(seed), []
        while not done.is_set():
            text = order.choice(texts)
            answers.append((text, json.dumps(content(ask(served, text)))))
        return answers

    cache = {"memory_mib": 0, "redis": redis.url}
    with (
        serving(tiny_genai, "genai", "causal-lm", tmp_path, cache=cache, max_new_tokens=64) as served,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        loops = [pool.submit(ask_on, served, seed) for seed in range(4)]
        for _ in range(10):
            with redis.suspended():
                time.sleep(chance.uniform(0, 1))
            redis.kill()
            time.sleep(chance.uniform(0, 1))
            redis.start()
            time.sleep(chance.uniform(0, 1))
        done.set()
        answers = [answer for loop in loops for answer in loop.result()]
        assert served.sample(metrics.REQUESTS, 'code="5') == 0
        # The breaker lets one call through after its pause.
        assert eventually(lambda: ask(served, texts[0]).headers[SOURCE] == "redis")
    assert len({*answers}) == len(texts)  # one answer to each
