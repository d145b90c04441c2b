"""The optional parts of one server."""

from dataclasses import dataclass, field

from framework.serving.answers.cache_options import CacheOptions
from framework.serving.drift_options import DriftOptions
from framework.serving.jobs.settings import Jobs
from framework.serving.request_log.options import RequestLog


@dataclass(frozen=True)
class Features:
    """What ``framework.serving.http.HttpServing`` turns on; None leaves a part out."""

    drift: DriftOptions = field(default_factory=DriftOptions)
    request_log: RequestLog | None = None
    jobs: Jobs | None = None
    cache: CacheOptions | None = None
