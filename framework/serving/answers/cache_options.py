"""The options of the answer cache."""

from typing import Annotated

from pydantic import Field

from framework.core.component import Component
from framework.serving.outbound.address import Address


class CacheOptions(Component):
    """Keeps answers to deterministic requests: with temperature 0, or with a seed.

    An answer's key is the model's digest and the whole request, so nothing is ever invalidated.
    """

    memory_mib: Annotated[int, Field(ge=0, le=65_536)] = 64
    """Memory of the server's process for answers, in MiB; the least recently used ones are dropped."""
    redis: Address | None = None
    """A Redis that several servers share: a URL without a password, such as ``redis://cache:6379/0``, or the
    name of the environment variable that holds it, such as ``GITUNE_REDIS_URL``. While it does not answer,
    the server does without it."""
    seconds: Annotated[int, Field(ge=1, le=2_592_000)] = 3600
    """Seconds for which an answer is kept."""
