"""The optional parts of one server."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from framework.serving.adapters import Adapter
from framework.serving.answers.cache_options import CacheOptions
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.drift_options import DriftOptions
from framework.serving.jobs.settings import Jobs
from framework.serving.request_log.options import RequestLog
from framework.serving.trace_options import Traces


@dataclass(frozen=True)
class Features:
    """What ``framework.serving.http.HttpServing`` turns on; None leaves a part out."""

    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    """Those that are served beside the release, by name."""
    cache: CacheOptions | None = None
    drift: DriftOptions = field(default_factory=DriftOptions)
    fallback: FallbackOptions | None = None
    jobs: Jobs | None = None
    request_log: RequestLog | None = None
    traces: Traces | None = None
