"""What all routes share: counting, clients that hang up, and errors in OpenAI's shape.

Knows HTTP; knows neither models nor queues. Imported only by the server.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.metrics import Metrics
from framework.serving.openai_api import ApiError

TIMED_OUT = (408, 499, 504)
"""Statuses of a request that took longer than somebody would wait; 499 is a client that hung up."""


class Counted:
    """Middleware: counts and times the requests of one route, streams to their last byte."""

    def __init__(self, app: ASGIApp, metrics: Metrics, route: str) -> None:
        self.app = app
        self.metrics = metrics
        self.route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on."""
        if scope.get("path") != self.route:
            await self.app(scope, receive, send)
            return
        started, code, whole = time.monotonic(), 500, False

        async def noting(message: Message) -> None:
            nonlocal code, whole
            code = message.get("status", code)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, noting)
                # A stream whose client hung up just ends, its last byte unsent.
                if not whole or code in TIMED_OUT:
                    self.metrics.timeouts.labels(self.route).inc()
            finally:
                self.metrics.requests.labels(self.route, str(code)).inc()
                self.metrics.seconds.labels(self.route).observe(time.monotonic() - started)


class Keyed:
    """Middleware: answers only who brings the API key, but for the paths that probes and scrapers ask."""

    def __init__(self, app: ASGIApp, key: str, open_paths: Collection[str]) -> None:
        self.app = app
        self.key = key.encode()
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse it with 401."""
        if scope["type"] != "http" or scope["path"] in self.open_paths or self._brings_key(scope):
            await self.app(scope, receive, send)
            return
        refusal = ApiError(
            401,
            "Incorrect API key; send it in the header 'Authorization: Bearer <key>'",
            code="invalid_api_key",
        )
        answer = JSONResponse(refusal.body(), status_code=401, headers={"WWW-Authenticate": "Bearer"})
        await answer(scope, receive, send)

    def _brings_key(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        # How long it takes must not tell how much of the key is right.
        return hmac.compare_digest(key.strip(), self.key) and scheme.lower() == b"bearer"


async def unless_gone(request: Request, answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer, or stop working on it as soon as the client has hung up."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, watch = asyncio.ensure_future(answer), asyncio.ensure_future(gone())
    await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
    for task in (work, watch):
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    if work.cancelled():
        raise ApiError(499, "The client closed the connection")
    return work.result()


def word_errors(app: Starlette) -> None:
    """Make every error of the application, expected or not, a JSON that OpenAI's clients read."""
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_plainly)
    app.add_exception_handler(Exception, _fail)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), status_code=error.status)


async def _refuse_plainly(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(refusal.body(), status_code=error.status_code, headers=error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    refusal = ApiError(500, "The server failed on this request; see its log")
    return JSONResponse(refusal.body(), status_code=500)
