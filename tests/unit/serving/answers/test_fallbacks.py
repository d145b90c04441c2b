"""A fallback at a real HTTP endpoint, which fails in several ways."""

import asyncio
import json
import threading
from contextlib import aclosing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError
from scripted_answers import ScriptedAnswers, asking, classifying, everything

from framework.core import metric_names as names
from framework.core.errors import ServeError
from framework.core.release import Release
from framework.serving.access.allowance import Allowances
from framework.serving.answer_stack import AnswerStack
from framework.serving.answers.answer_use import FALLBACK, AnswerUse, begin_use
from framework.serving.answers.fallback_answers import FallbackAnswers
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.answers.fallbacks import open_fallback
from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.engine.accepted import Accepted
from framework.serving.features import Features
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")
SHED = ApiError(429, "busy", code="overloaded", retry_after=3)
TEXT = FallbackOptions(text="Please wait.")
USAGE = {"prompt_tokens": 7, "completion_tokens": 5}


def chunk(delta=None, **fields):
    return {"choices": [{"index": 0, "delta": delta or {}, **fields}]}


REPLY = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "small "}),
    chunk({"content": "answer"}),
    chunk(finish_reason="stop"),
    {"choices": [], "usage": USAGE},
]


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
            self.send_response(server.statuses.pop(0) if server.statuses else 200)
            self.end_headers()
            for each in server.reply:
                self.wfile.write(f": comment\n\ndata: {json.dumps(each)}\n\n".encode())
                self.wfile.flush()
                if "delta" in str(each) and server.hold is not None:
                    server.hold.wait(10)
            if server.ends:
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked, server.statuses, server.reply = [], [], REPLY
    server.hold, server.ends = None, True
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
    events = asyncio.run(served.ask(asking(text="hi", temperature=0.5, seed=0, limit=9), use))
    assert events == [
        {"prompt_tokens": 0},
        {"text": "small ", "tokens": 1},
        {"text": "answer", "tokens": 2},
        {"finish_reason": "stop", "completion_tokens": 5, "prompt_tokens": 7},
    ]
    assert use.substitute.model == "small"
    for kind, tokens in (("prompt", 7), ("completion", 5)):
        counted = served.metrics.registry.get_sample_value(names.FALLBACK_TOKENS, {"kind": kind})
        assert counted == tokens
    ((path, headers, body),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-small"
    assert {key.lower() for key in headers} >= {FALLBACK}
    assert body == {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": 0,
    }


def test_pieces_come_as_they_are_sent(endpoint):
    endpoint.hold = threading.Event()

    async def scenario():
        served = Served(remote(endpoint), Refusing(SHED))
        endpoint.reply = REPLY[1:]
        begin_use(AnswerUse())
        async with aclosing(served.answers.generate(asking())) as events:
            seen = [await anext(events), await anext(events)]
            assert seen == [{"prompt_tokens": 0}, {"text": "small ", "tokens": 1}]
            endpoint.hold.set()  # only now is the rest sent
            assert [event async for event in events][-1]["finish_reason"] == "stop"
        await served.fallback.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "rest", [[], [chunk({"content": "x"}), {"error": {"message": "died"}}], ["not a chunk"]]
)
def test_answer_that_is_broken_off_ends_in_an_error(endpoint, rest):
    endpoint.reply, endpoint.ends = [*REPLY[:2], *rest], False
    served = Served(remote(endpoint), Refusing(SHED))
    with pytest.raises(ApiError) as caught:
        asyncio.run(served.ask())
    assert (caught.value.status, caught.value.code) == (503, "fallback_failed")
    assert len(endpoint.asked) == 1


def test_keys_limit_counts_the_fallbacks_tokens(endpoint):
    async def scenario():
        metrics = Metrics(RELEASE)
        stack = AnswerStack(Features(fallback=remote(endpoint)), metrics, RELEASE, 60)
        stack.allowances = Allowances(lambda: 0.0)
        accepted = Accepted(10)
        accepted.refusal = SHED
        caller = Caller("team", tokens_per_minute=60)
        begin_use(use := AnswerUse())
        request = replace(asking(), caller=caller)
        events = await everything(stack.over(accepted, RELEASE).generate(request))
        assert (use.substitute.model, events[-1]["completion_tokens"]) == ("small", 5)
        assert stack.allowances.of(caller).tokens.left() == 60 - 7 - 5
        await stack.close()

    asyncio.run(scenario())


def test_failing_endpoint_is_tried_three_times(endpoint):
    endpoint.statuses = [503, 429]
    assert len(asyncio.run(Served(remote(endpoint), Refusing(SHED)).ask())) == 4
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


def test_endpoint_that_does_not_stream_has_no_answer(endpoint):
    endpoint.reply, endpoint.ends = [], False
    with pytest.raises(ApiError) as caught:
        asyncio.run(Served(remote(endpoint), Refusing(SHED)).ask())
    assert caught.value is SHED
    assert len(endpoint.asked) == 3


def test_fallback_of_another_server_causes_no_further_one(endpoint):
    with pytest.raises(ApiError):
        asyncio.run(Served(remote(endpoint), Refusing(SHED)).ask(use=AnswerUse(falls_back=False)))
    assert endpoint.asked == []


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
