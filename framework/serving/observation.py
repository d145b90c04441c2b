"""What one server keeps and sends of its requests, beside counting them."""

from dataclasses import dataclass, field

from framework.serving.drift_options import DriftOptions
from framework.serving.request_log.options import RequestLog
from framework.serving.trace_options import Traces


@dataclass(frozen=True)
class Observation:
    """The options of ``framework.serving.http.HttpServing`` that observe."""

    drift: DriftOptions = field(default_factory=DriftOptions)
    request_log: RequestLog | None = None
    traces: Traces | None = None


NOTHING = Observation()
