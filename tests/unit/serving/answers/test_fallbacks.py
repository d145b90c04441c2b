"""A fallback at a real HTTP endpoint, which fails in several ways."""

import asyncio
import json
import threading
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError
from scripted_answers import ScriptedAnswers, asking, classifying, everything

from framework.core import metric_names as names
from framework.core.errors import ServeError
from framework.core.release import Release
from framework.serving.answers.answer_use import FALLBACK, AnswerUse, begin_use
from framework.serving.answers.fallback_answers import FallbackAnswers
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.answers.fallbacks import open_fallback
from framework.serving.api_error import ApiError
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")
SHED = ApiError(429, "busy", code="overloaded", retry_after=3)
TEXT = FallbackOptions(text="Please wait.")
REPLY = {
    "choices": [{"message": {"role": "assistant", "content": "small answer"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}


class Refusing(ScriptedAnswers):
    """Fails before its first event, or between it and the first token."""

    def __init__(self, failure, after=0):
        super().__init__()
        self.failure, self.after = failure, after

    async def generate(self, asked):
        events = [{"prompt_tokens": 3}, {"text": "big", "tokens": 1}]
        for event in events[: self.after]:
            yield event
        raise self.failure


@pytest.fixture
def endpoint():
    """An endpoint that answers each request with the next of ``statuses``, then with 200."""

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, dict(self.headers), body))
            status = server.statuses.pop(0) if server.statuses else 200
            content = json.dumps(server.reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked, server.statuses, server.reply = [], [], REPLY
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Served:
    """A server's answers before its fallback."""

    def __init__(self, options, inner):
        self.metrics = Metrics(RELEASE)
        self.fallback = open_fallback(options, self.metrics.outbound)
        self.answers = FallbackAnswers(inner, self.fallback, self.metrics.fallback)

    async def ask(self, request=None, use=None):
        begin_use(use or AnswerUse())
        try:
            async with aclosing(self.answers.generate(request or asking())) as events:
                return await everything(events)
        finally:
            await self.fallback.close()

    def count(self, reason, outcome):
        labels = {"reason": reason, "outcome": outcome}
        return self.metrics.registry.get_sample_value(names.FALLBACKS, labels)


def remote(endpoint, **fields):
    url = f"http://127.0.0.1:{endpoint.server_port}/v1/"
    return FallbackOptions(url=url, model="small", **fields)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SHED, "shed"),
        (ApiError(503, "engine", code="engine_failed"), "failed"),
        (ApiError(500, "fault"), "failed"),
    ],
)
def test_text_answers_what_is_shed_or_fails(error, reason, after):
    served, use = Served(TEXT, Refusing(error, after)), AnswerUse()
    events = asyncio.run(served.ask(use=use))
    assert events[1]["text"] == "Please wait."
    assert [event for event in events if "prompt_tokens" in event] == [{"prompt_tokens": 0}]
    assert (use.substitute.model, use.substitute.reason) == ("fallback", reason)
    assert served.count(reason, "answered") == 1


@pytest.mark.parametrize(
    "error",
    [
        ApiError(400, "no"),
        ApiError(429, "limit", code="rate_limit_exceeded"),
        ApiError(503, "loading", code="loading"),
        ApiError(503, "stopping", code="shutting_down"),
    ],
)
def test_other_errors_are_the_clients_answer(error):
    served = Served(TEXT, Refusing(error))
    with pytest.raises(ApiError) as caught:
        asyncio.run(served.ask())
    assert caught.value is error


def test_begun_answer_is_not_replaced():
    served = Served(TEXT, Refusing(ApiError(503, "died", code="engine_failed"), after=2))
    with pytest.raises(ApiError, match="died"):
        asyncio.run(served.ask())
    assert served.count("failed", "answered") == 0


def test_answer_of_the_model_passes():
    async def scenario():
        inner = ScriptedAnswers()
        inner.gate.set()
        served, use = Served(TEXT, inner), AnswerUse()
        assert len(await served.ask(use=use)) == 3
        assert use.substitute is None
        assert (await served.answers.answer_each(classifying("a")))[0]["label"] == "A"

    asyncio.run(scenario())


def test_smaller_model_gets_the_conversation(endpoint, monkeypatch):
    monkeypatch.setenv("SMALL_KEY", "sk-small")
    served = Served(remote(endpoint, key="SMALL_KEY"), Refusing(SHED))
    use = AnswerUse()
    events = asyncio.run(served.ask(asking(text="hi", temperature=0.5, seed=3, limit=9), use))
    assert events == [
        {"prompt_tokens": 7},
        {"text": "small answer", "tokens": 2},
        {"finish_reason": "stop", "completion_tokens": 2},
    ]
    assert use.substitute.model == "small"
    ((path, headers, body),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-small"
    assert {key.lower() for key in headers} >= {FALLBACK}
    assert body == {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": 3,
    }


def test_failing_endpoint_is_tried_three_times(endpoint):
    endpoint.statuses = [503, 429]
    assert len(asyncio.run(Served(remote(endpoint), Refusing(SHED)).ask())) == 3
    endpoint.statuses = [500] * 3
    served = Served(remote(endpoint), Refusing(SHED))
    with pytest.raises(ApiError) as caught:
        asyncio.run(served.ask())
    assert caught.value is SHED
    assert len(endpoint.asked) == 6
    assert served.count("shed", "unanswered") == 1


def test_endpoint_that_refuses_is_asked_once(endpoint):
    endpoint.statuses = [404]
    with pytest.raises(ApiError):
        asyncio.run(Served(remote(endpoint), Refusing(SHED)).ask())
    assert len(endpoint.asked) == 1


def test_answer_without_text_is_none(endpoint):
    endpoint.reply = {"choices": [{"message": {"content": None}, "finish_reason": "tool_calls"}]}
    with pytest.raises(ApiError):
        asyncio.run(Served(remote(endpoint), Refusing(SHED)).ask())


def test_fallback_of_another_server_causes_no_further_one(endpoint):
    with pytest.raises(ApiError):
        asyncio.run(Served(remote(endpoint), Refusing(SHED)).ask(use=AnswerUse(falls_back=False)))
    assert endpoint.asked == []


@pytest.mark.parametrize("options", [TEXT, FallbackOptions(url="http://127.0.0.1:9", model="small")])
@pytest.mark.parametrize("change", [{"tools": [{"type": "function"}]}, {"schema": "{}"}, {"messages": []}])
def test_request_that_it_cannot_do_keeps_its_error(options, change):
    request = asking()
    request.payload.update(change)
    with pytest.raises(ApiError, match="busy"):
        asyncio.run(Served(options, Refusing(SHED)).ask(request))


@pytest.mark.parametrize(
    "fields", [{}, {"text": "a", "url": "http://x"}, {"url": "http://x"}, {"model": "x"}]
)
def test_options_name_one_fallback(fields):
    with pytest.raises(ValidationError):
        FallbackOptions(**fields)


def test_missing_key_is_an_error(endpoint, monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(ServeError, match=r"serving\.fallback\.key: .*NO_KEY"):
        Served(remote(endpoint, key="NO_KEY"), Refusing(SHED))
