"""What one server keeps and sends of its requests, beside counting them."""

from dataclasses import dataclass

from framework.serving.request_log.options import RequestLog


@dataclass(frozen=True)
class Observation:
    """The options of ``framework.serving.http.HttpServing`` that observe; all are off by default."""

    request_log: RequestLog | None = None


NOTHING = Observation()
