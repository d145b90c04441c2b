"""What a release must do in the environment before, until it may be promoted."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.core.gates import Bound

EnvironmentName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$")]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[smhd]$")]
"""A whole number of seconds, minutes, hours or days, such as ``90s``, ``30m``, ``24h`` or ``7d``."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: str) -> int:
    """Return a ``Duration`` in seconds.

    >>> seconds_of("24h"), seconds_of("90s")
    (86400, 90)
    """
    return int(duration[:-1]) * _SECONDS[duration[-1]]


class MeasuredBound(Bound):
    """The range that a metric of the environment before must be in."""

    query: str | None = None
    """PromQL expression with one value. ``$environment``, ``$namespace``, ``$release`` and ``$digest`` stand
    for the environment before and the release in it. Required if ``metrics_from`` is a URL, else unused."""


class Promotion(Component):
    """The conditions of a promotion to an environment; none by default."""

    after: EnvironmentName | None = None
    """The environment before: a release must be there now, with the same digest. None for the first one, to
    which a release comes from its build."""
    soak: Duration | None = None
    """How long a release must have been in the environment before, such as ``24h``; by the dates of the
    commits that put it there. None does not wait."""
    metrics_from: Annotated[str, Field(min_length=1)] | None = None
    """Where ``verify`` reads metrics when a promotion is requested: the URL of a Prometheus, which gets the
    bearer token in the variable ``PROMETHEUS_TOKEN`` if there is one; or a JSON file, such as
    ``{"digest": "sha256:…", "metrics": {"failures": 0.01}}``, relative to the working folder."""
    verify: dict[str, MeasuredBound] = Field(default={})
    """Bounds on metrics of the environment before, by name."""

    @model_validator(mode="after")
    def _complete(self) -> "Promotion":
        if self.after is None and (self.soak or self.verify):
            raise PydanticCustomError("no_predecessor", "'soak' and 'verify' are about 'after'; set it too")
        if self.verify and self.metrics_from is None:
            raise PydanticCustomError("no_source", "'verify' needs 'metrics_from', a URL or a JSON file")
        if self.asks_prometheus:
            for name, bound in self.verify.items():
                if not bound.query:
                    raise PydanticCustomError(
                        "no_query", "'verify.{name}' needs a 'query' for Prometheus", {"name": name}
                    )
        return self

    @property
    def asks_prometheus(self) -> bool:
        """Whether ``metrics_from`` is a URL."""
        return (self.metrics_from or "").startswith(("http://", "https://"))
