"""Traces of requests, sent to an OpenTelemetry collector; see ``serving.traces``.

A span has times, tokens and names, and never a text of a user. Without ``serving.traces`` nothing of
OpenTelemetry is imported.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from framework.core.errors import ServeError
from framework.core.release import Release
from framework.requestlog import version_of
from framework.serving.trace_options import ENDPOINT, Traces

EXPORT_SECONDS = 5
"""Time limit of one export."""
FLUSH_SECONDS = 3
"""Longest time that the last spans have to be sent when the server ends."""
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/responses": "chat",
    "/v1/embeddings": "embeddings",
}
"""``gen_ai.operation.name`` by route; other routes have none in the conventions."""


class ActiveTrace:
    """The trace of the request that is being answered."""

    def __init__(self, tracer: Any, context: Any, root: Any) -> None:
        self._tracer, self._context, self.root = tracer, context, root

    def add(self, name: str, start: float, end: float, **attributes: Any) -> None:
        """Add a span that is over.

        Args:
            name: the span's name.
            start: when it began, by the monotonic clock.
            end: when it ended.
            attributes: what is known about it, without texts.
        """
        span = self._tracer.start_span(
            name, context=self._context, start_time=_nanoseconds(start), attributes=attributes
        )
        span.end(end_time=_nanoseconds(max(start, end)))

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes to the request's own span; those without a value are left out."""
        self.root.set_attributes({key: value for key, value in attributes.items() if value is not None})

    def fail(self) -> None:
        """Mark the request as failed."""
        from opentelemetry.trace import StatusCode

        self.root.set_status(StatusCode.ERROR)


_ACTIVE: ContextVar[ActiveTrace | None] = ContextVar("active_trace", default=None)


def active_trace() -> ActiveTrace | None:
    """Return the trace of the request that is being answered; None if it is not traced."""
    return _ACTIVE.get()


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """Add what happens in the block to the request's trace, if there is one.

    >>> with span("cache lookup", hit=True):
    ...     pass
    """
    started = time.monotonic()
    try:
        yield
    finally:
        if (trace := active_trace()) is not None:
            trace.add(name, started, time.monotonic(), **attributes)


class Tracing:
    """Makes the spans of one server and sends them in batches, from a thread of its own."""

    def __init__(self, options: Traces, release: Release) -> None:
        """Start the exporter; it connects when there is something to send.

        Raises:
            ServeError: no endpoint is given, or a package is not installed.
        """
        endpoint = options.endpoint or os.environ.get(ENDPOINT)
        if not endpoint:
            raise ServeError(f"serving.traces has no endpoint; set serving.traces.endpoint or {ENDPOINT}")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise ServeError("serving.traces needs OpenTelemetry: pip install 'gitune[tracing]'") from None

        named = {"service.name": release.name, "service.version": version_of(release.digest)}
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(options.share)),
            resource=Resource.create(named),
            shutdown_on_exit=False,  # a collector that does not answer would hold the server
        )
        address = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=address, timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("gitune")
        self._propagator = TraceContextTextMapPropagator()
        self._release = release

    @contextmanager
    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Iterator[ActiveTrace]:
        """Trace a request for the time of the block, as a part of its caller's trace if it names one.

        Args:
            method: the HTTP method.
            route: the path.
            headers: with names in lower case; ``traceparent`` is W3C's.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        parent = self._propagator.extract(headers)
        attributes = {
            "http.request.method": method,
            "http.route": route,
            "gen_ai.provider.name": "gitune",
            "gen_ai.request.model": self._release.name,
            **({"gen_ai.operation.name": OPERATIONS[route]} if route in OPERATIONS else {}),
        }
        root = self._tracer.start_span(
            f"{method} {route}", context=parent, kind=SpanKind.SERVER, attributes=attributes
        )
        trace = ActiveTrace(self._tracer, set_span_in_context(root, parent), root)
        token = _ACTIVE.set(trace)
        try:
            yield trace
        finally:
            _ACTIVE.reset(token)
            root.end()

    def close(self) -> None:
        """Send what waits, for ``FLUSH_SECONDS`` at most."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)


def _nanoseconds(moment: float) -> int:
    """Return a moment of the monotonic clock in nanoseconds since 1970."""
    return time.time_ns() - int((time.monotonic() - moment) * 1e9)
