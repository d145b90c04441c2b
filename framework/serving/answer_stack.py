"""What stands between the routes and the engine, put together as the options say."""

import asyncio

from framework.core.release import Release
from framework.serving.access.allowance import Allowances
from framework.serving.answers import Answers
from framework.serving.answers.cache_options import CacheOptions
from framework.serving.answers.cached_answers import CachedAnswers
from framework.serving.answers.engine_answers import EngineAnswers
from framework.serving.answers.fallback_answers import FallbackAnswers
from framework.serving.answers.fallbacks import open_fallback
from framework.serving.answers.limited import LimitedAnswers
from framework.serving.answers.memory_cache import MemoryCache
from framework.serving.answers.noted import Noted
from framework.serving.answers.redis_cache import RedisCache
from framework.serving.engine.accepted import Accepted
from framework.serving.features import Features
from framework.serving.observed import Observed
from framework.serving.outbound.address import resolve
from framework.serving.telemetry.metrics import Metrics


class AnswerStack:
    """The parts that outlive an engine: cache, fallback, what observes, and the limits of keys.

    Raises:
        ServeError: a package, a folder or an environment variable that an option needs is missing.
    """

    def __init__(self, features: Features, metrics: Metrics, release: Release, queue_timeout: float) -> None:
        self._metrics, self._queue_timeout = metrics, queue_timeout
        self.allowances = Allowances()
        self.observed = Observed(features, metrics, release)
        self._fallback = (
            None if features.fallback is None else open_fallback(features.fallback, metrics.outbound)
        )
        self._memory: MemoryCache | None = None
        self._redis: RedisCache | None = None
        if features.cache is not None:
            self._open(features.cache)

    def _open(self, cache: CacheOptions) -> None:
        memory = self._memory = MemoryCache(cache.memory_mib * 2**20, cache.seconds)
        self._metrics.cache.watch_size(lambda: memory.size)
        if cache.redis is not None:
            url = resolve(cache.redis, "serving.cache.redis")
            self._redis = RedisCache(url, cache.seconds, self._metrics)

    def over(self, accepted: Accepted, release: Release) -> Answers:
        """Return the answers of the engine that *accepted* is for, with everything before it."""
        answers: Answers = EngineAnswers(accepted, self._metrics, self._queue_timeout)
        if self._memory is not None:
            answers = CachedAnswers(answers, release.digest, self._memory, self._redis, self._metrics)
        answers = self.observed.wrap(answers, release)
        if self._fallback is not None:  # outside of the log and the drift, which are the release's own
            answers = FallbackAnswers(answers, self._fallback, self._metrics.fallback)
        # Outside of the fallback, whose tokens a key's limits count, too.
        return Noted(LimitedAnswers(answers, self.allowances, accepted.expected_tokens))

    async def close(self) -> None:
        """Write what waits, and end the connections."""
        await asyncio.to_thread(self.observed.close)
        if self._redis is not None:
            await self._redis.close()
        if self._fallback is not None:
            await self._fallback.close()
