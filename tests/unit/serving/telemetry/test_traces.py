"""Tracing without a server."""

import sys
import time
from pathlib import Path

import pytest

from framework.core.errors import ServeError
from framework.core.release import Release
from framework.serving.telemetry.traces import Tracing, active_trace, span
from framework.serving.trace_options import ENDPOINT, Traces

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")


def test_an_endpoint_is_needed(monkeypatch):
    monkeypatch.delenv(ENDPOINT, raising=False)
    with pytest.raises(ServeError, match=ENDPOINT):
        Tracing(Traces(), RELEASE)


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ServeError, match=r"gitune\[tracing\]"):
        Tracing(Traces(endpoint="http://127.0.0.1:4318"), RELEASE)


def test_spans_are_parts_of_the_request_around_them():
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    tracing = Tracing(Traces(endpoint="http://127.0.0.1:9"), RELEASE)
    kept = InMemorySpanExporter()
    tracing._provider.add_span_processor(SimpleSpanProcessor(kept))
    with span("outside"):
        pass
    with tracing.request("POST", "/v1/chat/completions", {}) as trace:
        assert active_trace() is trace
        with span("cache lookup", hit=False):
            time.sleep(0.01)
    assert active_trace() is None
    lookup, root = kept.get_finished_spans()
    assert (lookup.name, lookup.parent.span_id) == ("cache lookup", root.context.span_id)
    assert dict(lookup.attributes) == {"hit": False}
    assert lookup.end_time - lookup.start_time >= 10_000_000
    assert root.start_time - 2_000_000 <= lookup.start_time <= lookup.end_time <= root.end_time + 2_000_000
    tracing.close()
