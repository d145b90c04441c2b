"""A real Redis: healthy, slow, killed, and with values that nobody wrote."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from redis_process import needs_redis, running_redis

from framework.core import metric_names as names
from framework.core.errors import ServeError
from framework.core.release import Release
from framework.serving.answers.redis_cache import PREFIX, RedisCache
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")
pytestmark = needs_redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def metrics():
    return Metrics(RELEASE)


@contextlib.asynccontextmanager
async def opened(redis, metrics, seconds=60):
    cache = RedisCache(redis.url, seconds, metrics)
    try:
        yield cache
    finally:
        await cache.close()


async def written(cache):
    await asyncio.gather(*cache._writes)


def errors(metrics, reason):
    return metrics.registry.get_sample_value(names.CACHE_ERRORS, {"reason": reason})


def calls(metrics, outcome):
    labels = {"destination": "redis", "outcome": outcome}
    return metrics.registry.get_sample_value(names.OUTBOUND_CALLS, labels)


def test_answers_are_kept_for_their_time(redis, metrics):
    async def scenario():
        async with opened(redis, metrics, seconds=77) as cache:
            cache.put("a", b"one")
            cache.put("b", b"two")
            await written(cache)
            assert await cache.get(["a"]) == [b"one"]
            assert await cache.get(["b", "none", "a"]) == [b"two", None, b"one"]

    asyncio.run(scenario())
    with redis.client as client:
        assert 70 < client.ttl(f"{PREFIX}a") <= 77
    assert calls(metrics, "ok") == 4


def test_damaged_and_misplaced_values_are_no_answers(redis, metrics):
    async def scenario():
        async with opened(redis, metrics) as cache:
            cache.put("whole", b"answer")
            await written(cache)
            with redis.client as client:
                good = client.get(f"{PREFIX}whole")
                client.set(f"{PREFIX}moved", good)
                client.set(f"{PREFIX}cut", good[:-1])
                client.set(f"{PREFIX}short", b"x")
                client.lpush(f"{PREFIX}list", "x")
            assert await cache.get(["whole", "moved", "cut", "short"]) == [b"answer", None, None, None]
            assert await cache.get(["list"]) == [None]

    asyncio.run(scenario())
    assert (errors(metrics, "damaged"), errors(metrics, "refused")) == (3, 1)


def test_slow_redis_is_left_alone_after_five_looks(redis, metrics):
    async def scenario():
        async with opened(redis, metrics) as cache:
            cache.put("a", b"one")
            await written(cache)
            with redis.suspended():
                for _ in range(8):
                    assert await cache.get(["a"]) == [None]
            assert calls(metrics, "failed") == 5
            assert calls(metrics, "refused") == 3
            opened_at = {"destination": "redis"}
            assert metrics.registry.get_sample_value(names.BREAKER_OPEN, opened_at) == 1

    asyncio.run(scenario())
    assert errors(metrics, "unreachable") == 8


def test_killed_redis_is_used_again_when_it_is_back(tmp_path, metrics):
    async def scenario(server):
        async with opened(server, metrics) as cache:
            cache.put("a", b"one")
            await written(cache)
            server.kill()
            assert await cache.get(["a"]) == [None]
            cache.put("b", b"two")
            await written(cache)  # three attempts
            assert calls(metrics, "failed") == 4
            server.start()
            cache.put("b", b"two")
            await written(cache)
            assert await cache.get(["b", "a"]) == [b"two", None]

    with running_redis(tmp_path) as server:
        asyncio.run(scenario(server))


def test_wrong_url_is_an_error(metrics):
    with pytest.raises(ServeError, match=r"^serving\.cache\.redis: "):
        RedisCache("ftp://x", 60, metrics)
