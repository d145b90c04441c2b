"""Counting of answers that are complete, cut off or rejected."""

import asyncio
from pathlib import Path

import pytest

from framework.core import metric_names as names
from framework.core.release import Release
from framework.serving.middleware.counted import Counted
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")
LAST = {"type": "http.response.body", "body": b"end", "more_body": False}
PIECE = {"type": "http.response.body", "body": b"piece", "more_body": True}


def start(status):
    return {"type": "http.response.start", "status": status, "headers": []}


def counted(*messages, failure=None, uploaded=True):
    """Let an application read a body and send *messages*, then end or fail; return the counters."""
    metrics = Metrics(RELEASE)

    async def app(scope, receive, send):
        await receive()
        for message in messages:
            await send(message)
        if failure is not None:
            raise failure

    async def send(message):
        pass

    async def receive():
        return {"type": "http.request", "body": b"{", "more_body": not uploaded}

    call = Counted(app, metrics, ["/chat"])({"type": "http", "path": "/chat"}, receive, send)
    if failure is None:
        asyncio.run(call)
    else:
        with pytest.raises(type(failure)):
            asyncio.run(call)
    labels = {"route": "/chat"}
    codes = ("200", "408", "499", "500", "504")
    requests = {
        code
        for code in codes
        if metrics.registry.get_sample_value(names.REQUESTS, {**labels, "code": code, "refused": ""})
    }
    return requests, metrics.registry.get_sample_value(names.TIMEOUTS, labels) or 0


@pytest.mark.parametrize(
    ("messages", "code", "timeouts"),
    [
        ((start(200), LAST), "200", 0),
        ((start(200), PIECE, PIECE, LAST), "200", 0),
        ((start(200), PIECE), "499", 1),
        ((), "499", 1),
        ((start(499), LAST), "499", 1),
        ((start(504), LAST), "504", 1),
        ((start(408), LAST), "408", 1),
    ],
)
def test_disconnects_and_timeouts_are_counted(messages, code, timeouts):
    assert counted(*messages) == ({code}, timeouts)


def test_failure_is_not_a_timeout():
    assert counted(failure=RuntimeError("broken")) == ({"500"}, 0)


def test_aborted_upload_is_neither_failure_nor_timeout():
    assert counted(start(499), LAST, uploaded=False) == ({"499"}, 0)
    assert counted(uploaded=False) == ({"499"}, 0)
