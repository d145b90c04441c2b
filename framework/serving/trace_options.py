"""The option ``serving.traces``."""

from typing import Annotated

from pydantic import Field

from framework.core.component import Component

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""OpenTelemetry's environment variable with the collector's URL."""


class Traces(Component):
    """Where traces of requests are sent."""

    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """The OTLP/HTTP URL of a collector, such as ``http://collector:4318``. None takes the environment
    variable ``OTEL_EXPORTER_OTLP_ENDPOINT``; other variables of OpenTelemetry's exporter count too."""
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the requests that are traced. A request with a ``traceparent`` follows its caller's choice."""
