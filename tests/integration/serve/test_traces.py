"""Traces of a running server, as a collector on loopback receives them."""

import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from server_process import HELLO, eventually, free_port, serving

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@contextlib.contextmanager
def collector():
    """Receive OTLP over HTTP; yield its URL, and the spans and bytes that have come."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans, raw = [], []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            assert self.path == "/v1/traces"
            raw.append(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans, raw
        finally:
            server.shutdown()
            thread.join()


def attributes(span):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_a_request_is_one_trace_from_its_caller_to_the_engine(tiny_genai, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello secret"}], "max_tokens": 8}
    with collector() as (url, spans, raw):
        options = {"traces": {"endpoint": url}, "max_new_tokens": 16}
        with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
            header = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=header).json()
            unsampled = {"traceparent": f"00-{'1' * 32}-{PARENT}-00"}
            httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=unsampled)
            assert served.status("/health") == 200
            stream = {**body, "stream": True}
            assert "data: [DONE]" in httpx.post(f"{served.url}/v1/chat/completions", json=stream).text
            refused = httpx.post(f"{served.url}/v1/chat/completions", json={**body, "max_tokens": 999})
            assert refused.status_code == 400
        assert eventually(lambda: len(spans) == 9)
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    by_name = {span.name: span for span in ours}
    root = by_name["POST /v1/chat/completions"]
    assert set(by_name) == {root.name, "queue", "prefill", "decode"}
    assert root.parent_span_id.hex() == PARENT
    assert {by_name[name].parent_span_id for name in ("queue", "prefill", "decode")} == {root.span_id}
    queue, prefill, decode = (by_name[name] for name in ("queue", "prefill", "decode"))
    slack = 2_000_000  # nanoseconds: the two clocks are read one after the other
    assert abs(queue.end_time_unix_nano - prefill.start_time_unix_nano) < slack
    assert abs(prefill.end_time_unix_nano - decode.start_time_unix_nano) < slack
    assert root.start_time_unix_nano - slack <= queue.start_time_unix_nano
    assert decode.end_time_unix_nano <= root.end_time_unix_nano + slack
    known = attributes(root)
    assert known["gen_ai.operation.name"] == "chat"
    assert (known["gen_ai.request.model"], known["gen_ai.response.id"]) == ("tiny", answer["id"])
    assert known["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert known["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"]
    assert known["http.response.status_code"] == 200
    assert not any(b"secret" in body for body in raw)
    assert answer["choices"][0]["message"]["content"].encode() not in b"".join(raw)
    statuses = sorted(attributes(span)["http.response.status_code"] for span in spans if span.kind == 2)
    assert statuses == [200, 200, 400]


@pytest.mark.slow
def test_a_collector_that_is_not_there_costs_no_request(tiny_genai, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, traces={}, max_new_tokens=4) as served:
        for _ in range(3):
            answer = served.client.chat.completions.create(model="tiny", messages=HELLO)
            assert answer.choices[0].finish_reason
        served.process.terminate()
        assert served.process.wait(20) == 0


def test_classified_texts_are_traced(tiny_bert, tmp_path):
    with collector() as (url, spans, _):
        options = {"traces": {"endpoint": url}}
        with serving(tiny_bert, "onnxruntime", "sequence-classification", tmp_path, **options) as served:
            assert httpx.post(f"{served.url}/v1/classify", json={"input": ["good", "bad"]}).status_code == 200
    assert {span.name for span in spans} == {"POST /v1/classify", "queue", "batch"}
    (batch,) = (span for span in spans if span.name == "batch")
    assert attributes(batch) == {"texts": 2}
