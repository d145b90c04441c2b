"""Answers in a Redis that several servers share; while it is gone, there are none."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

from framework.core.errors import ServeError
from framework.serving.outbound.destination import Destination, Unreachable
from framework.serving.telemetry.metrics import Metrics

Result = TypeVar("Result")
PREFIX = "gitune:answer:"
"""What its keys begin with."""
SECONDS = 0.1
"""Longest time for a connection, and for an answer of Redis: a client waits meanwhile."""
CONNECTIONS = 64
"""Most connections of one server."""
WRITES = 256
"""Most answers that are being written; while Redis is slow, later ones are not."""
_SUM = 64
"""Characters of the checksum before each value."""


class RedisCache:
    """Reads and writes answers with plain ``GET``, ``MGET`` and ``SET … EX``.

    Every value begins with the SHA-256 of its key and its bytes, so that a damaged or misplaced one is not
    taken for an answer.

    Raises:
        ServeError: the package redis is not installed, or the URL is not one of Redis.
    """

    def __init__(self, url: str, seconds: int, metrics: Metrics) -> None:
        if find_spec("redis") is None:
            raise ServeError("serving.cache.redis needs the package redis: pip install 'gitune[redis]'")
        from redis import exceptions
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=SECONDS,
                socket_timeout=SECONDS,
                socket_connect_timeout=SECONDS,
                retry=Retry(NoBackoff(), 0),  # ours are counted, and stop behind the breaker
            )
        except ValueError as error:
            raise ServeError(f"serving.cache.redis: {error}") from None
        self._redis: Any = Redis(connection_pool=pool)
        self._pool = pool
        self._refused = exceptions.RedisError
        failures = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
        self._service = Destination("redis", failures, observe=metrics.outbound.observe)
        metrics.outbound.watch(self._service.name, lambda: self._service.breaker.is_open)
        self._seconds, self._metrics = seconds, metrics.cache
        self._writes: set[asyncio.Task[object]] = set()

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the answer to each key, None where there is none or Redis does not answer."""
        names = [PREFIX + key for key in keys]

        async def read() -> list[bytes | None]:
            if len(names) == 1:
                return [await self._redis.get(names[0])]
            values: list[bytes | None] = await self._redis.mget(names)
            return values

        # Once: the model answers sooner than a second attempt would.
        values = await self._tried(read, attempts=1)
        if values is None:
            return [None] * len(keys)
        return [self._checked(key, value) for key, value in zip(keys, values, strict=True)]

    def put(self, key: str, body: bytes) -> None:
        """Begin to write an answer."""
        if len(self._writes) >= WRITES:
            self._metrics.failed("unwritten")
            return

        async def write() -> object:
            return await self._redis.set(PREFIX + key, _checksum(key, body) + body, ex=self._seconds)

        task: asyncio.Task[object] = asyncio.ensure_future(self._tried(write, attempts=None))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """End the writes and the connections."""
        for task in self._writes:
            task.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)
        await self._pool.disconnect()

    async def _tried(self, work: Callable[[], Awaitable[Result]], attempts: int | None) -> Result | None:
        try:
            return await self._service.call(work, attempts)
        except Unreachable:
            self._metrics.failed("unreachable")
        except self._refused:
            self._metrics.failed("refused")
        return None

    def _checked(self, key: str, value: bytes | None) -> bytes | None:
        """Return the answer in a value; a damaged one is counted, and is none."""
        if value is None:
            return None
        body = value[_SUM:]
        if value[:_SUM] == _checksum(key, body):
            return body
        self._metrics.failed("damaged")
        return None


def _checksum(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + body).hexdigest().encode()
