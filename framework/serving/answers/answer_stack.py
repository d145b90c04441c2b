"""What stands between the routes and the engine, put together as the options say."""

from framework.serving.answers import Answers
from framework.serving.answers.cache_options import CacheOptions
from framework.serving.answers.cached_answers import CachedAnswers
from framework.serving.answers.memory_cache import MemoryCache
from framework.serving.answers.redis_cache import RedisCache
from framework.serving.outbound.address import resolve
from framework.serving.telemetry.metrics import Metrics


class AnswerStack:
    """The parts that outlive an engine: the cache's two levels.

    Raises:
        ServeError: a package or an environment variable that an option needs is missing.
    """

    def __init__(self, cache: CacheOptions | None, metrics: Metrics) -> None:
        self._metrics = metrics
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
        if self._memory is None:
            return engine
        return CachedAnswers(engine, digest, self._memory, self._redis, self._metrics)

    async def close(self) -> None:
        """End the connections."""
        if self._redis is not None:
            await self._redis.close()
