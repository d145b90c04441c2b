"""The optional parts of one server."""

from dataclasses import dataclass

from framework.serving.answers.cache_options import CacheOptions
from framework.serving.jobs.settings import Jobs


@dataclass(frozen=True)
class Features:
    """What ``framework.serving.http.HttpServing`` turns on; None leaves a part out."""

    jobs: Jobs | None = None
    cache: CacheOptions | None = None
