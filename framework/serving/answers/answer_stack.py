"""What stands between the routes and the engine, put together as the options say."""

from framework.serving.answers import Answers
from framework.serving.answers.cache_options import CacheOptions
from framework.serving.answers.cached_answers import CachedAnswers
from framework.serving.answers.fallback_answers import FallbackAnswers
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.answers.fallbacks import open_fallback
from framework.serving.answers.memory_cache import MemoryCache
from framework.serving.answers.redis_cache import RedisCache
from framework.serving.outbound.address import resolve
from framework.serving.telemetry.metrics import Metrics


class AnswerStack:
    """The parts that outlive an engine: the cache's two levels, and the fallback.

    Raises:
        ServeError: a package or an environment variable that an option needs is missing.
    """

    def __init__(
        self, cache: CacheOptions | None, fallback: FallbackOptions | None, metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._fallback = None if fallback is None else open_fallback(fallback, metrics.outbound)
        self._memory: MemoryCache | None = None
        self._redis: RedisCache | None = None
        if cache is not None:
            self._open(cache)

    def _open(self, cache: CacheOptions) -> None:
        memory = self._memory = MemoryCache(cache.memory_mib * 2**20, cache.seconds)
        self._metrics.cache.watch_size(lambda: memory.size)
        if cache.redis is not None:
            url = resolve(cache.redis, "serving.cache.redis")
            self._redis = RedisCache(url, cache.seconds, self._metrics)

    def over(self, engine: Answers, digest: str) -> Answers:
        """Return the answers of *engine*, which runs the model *digest*, with everything before it."""
        answers = engine
        if self._memory is not None:
            answers = CachedAnswers(answers, digest, self._memory, self._redis, self._metrics)
        if self._fallback is not None:
            answers = FallbackAnswers(answers, self._fallback, self._metrics.fallback)
        return answers

    async def close(self) -> None:
        """End the connections."""
        if self._redis is not None:
            await self._redis.close()
        if self._fallback is not None:
            await self._fallback.close()
