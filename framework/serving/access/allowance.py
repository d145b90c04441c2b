"""How much each key may still ask for: token buckets, in memory.

They are this module's own, since a request's tokens are known only when it ends: what was reserved too much
is given back, what was too little is owed, and a windowed counter has neither. They hold for one process.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from framework.serving.api_error import ApiError
from framework.serving.caller import Caller

MINUTE = 60.0


class Bucket:
    """So many units a minute, and at most so many at once.

    >>> now = [0.0]
    >>> bucket = Bucket(60, lambda: now[0])
    >>> bucket.take(50), bucket.take(20), bucket.wait(20)
    (True, False, 10.0)
    >>> now[0] += 10
    >>> bucket.take(20), bucket.left()
    (True, 0)
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level, self._since = float(per_minute), clock()

    def _refill(self) -> float:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._since) * self.per_minute / MINUTE)
        self._since = now
        return self._level

    def resize(self, per_minute: int) -> None:
        """Change the limit; what is left stays, as far as the new limit allows it."""
        self._refill()
        self.per_minute = per_minute
        self._level = min(self._level, float(per_minute))

    def wait(self, units: float) -> float:
        """Return in how many seconds *units* can be taken; more than a minute's need a full bucket."""
        missing = min(units, self.per_minute) - self._refill()
        return max(0.0, missing) * MINUTE / self.per_minute

    def take(self, units: float) -> bool:
        """Take *units* if there are enough, or all that fit; more than a minute's leave a debt."""
        if self.wait(units) > 0:
            return False
        self._level -= units
        return True

    def give(self, units: float) -> None:
        """Return *units* that were taken; a negative number takes more, even if there are not enough."""
        self._level = min(float(self.per_minute), self._refill() + units)

    def left(self) -> int:
        """Return how many whole units can be taken now."""
        return max(0, math.floor(self._refill() + 1e-9))

    def full_in(self) -> float:
        """Return in how many seconds the bucket is full again."""
        return (self.per_minute - self._refill()) * MINUTE / self.per_minute


@dataclass
class Allowance:
    """What one key is allowed; None has no limit."""

    requests: Bucket | None
    tokens: Bucket | None

    def take(self, kind: str, units: float) -> None:
        """Take *units* of ``requests`` or ``tokens``.

        Raises:
            ApiError: 429, with the seconds after which it would not have been refused.
        """
        bucket: Bucket | None = getattr(self, kind)
        if bucket is None or bucket.take(units):
            return
        wait = bucket.wait(units)
        raise ApiError(
            429,
            f"Rate limit of this key reached: {bucket.per_minute} {kind} a minute, {bucket.left()} left, "
            f"{math.ceil(units)} needed; retry in {wait:.1f} seconds",
            code="rate_limit_exceeded",
            retry_after=max(1, math.ceil(wait)),
        )

    def headers(self) -> dict[str, str]:
        """Return the headers that OpenAI's clients know."""
        headers = {}
        for kind, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                headers[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{kind}"] = str(bucket.left())
                headers[f"x-ratelimit-reset-{kind}"] = _duration(bucket.full_in())
        return headers


class Allowances:
    """The allowance of each caller, which lasts when the keys are read again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, Allowance] = {}

    def of(self, caller: Caller) -> Allowance:
        """Return what *caller* is allowed."""
        allowance = self._by_name.setdefault(caller.name, Allowance(None, None))
        allowance.requests = self._bucket(allowance.requests, caller.requests_per_minute)
        allowance.tokens = self._bucket(allowance.tokens, caller.tokens_per_minute)
        return allowance

    def _bucket(self, bucket: Bucket | None, limit: int | None) -> Bucket | None:
        if limit is None:
            return None
        if bucket is None:
            return Bucket(limit, self._clock)
        if bucket.per_minute != limit:
            bucket.resize(limit)
        return bucket


def _duration(seconds: float) -> str:
    """Return *seconds* as OpenAI's headers write them.

    >>> _duration(0.0121), _duration(1.5), _duration(75)
    ('13ms', '1.500s', '1m15s')
    """
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms"
    if seconds < MINUTE:
        return f"{seconds:.3f}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"
