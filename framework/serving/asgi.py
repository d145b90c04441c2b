"""Middleware of all routes: request metrics, API key, body limit, client disconnects, errors as OpenAI's.

It knows HTTP; it knows neither models nor queues.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.limits import MAX_BODY
from framework.serving.metrics import Metrics
from framework.serving.openai_api import ApiError

DISCONNECTED = 499
"""The status of a request whose client left before the last byte; no client sees it."""
TIMED_OUT = (408, DISCONNECTED, 504)
"""Statuses of a request that timed out."""


class Counted:
    """Middleware: counts and times the requests of one route, and streams until their last byte."""

    def __init__(self, app: ASGIApp, metrics: Metrics, route: str) -> None:
        self.app = app
        self.metrics = metrics
        self.route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and count the request if it is for the route."""
        if scope.get("path") != self.route:
            await self.app(scope, receive, send)
            return
        started, code = time.monotonic(), 500
        uploaded = complete = failed = False

        async def received() -> Message:
            nonlocal uploaded
            message = await receive()
            uploaded |= message["type"] == "http.request" and not message.get("more_body", False)
            return message

        async def observed(message: Message) -> None:
            nonlocal code, complete
            code = message.get("status", code)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, received, observed)
            except Exception:
                failed = True
                raise
            finally:
                # A stream whose client disconnected ends without its last message.
                code = code if complete or failed else DISCONNECTED
                if code in TIMED_OUT and uploaded:  # else the client never finished asking
                    self.metrics.timeouts.labels(self.route).inc()
                self.metrics.requests.labels(self.route, str(code)).inc()
                self.metrics.seconds.labels(self.route).observe(time.monotonic() - started)


class Bounded:
    """Middleware: refuses bodies of more than ``MAX_BODY`` bytes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; a body that is too long, or says that it will be, ends in 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY or (stated.isdigit() and int(stated) > MAX_BODY):
                raise ApiError(413, f"The body has more than {MAX_BODY} bytes; send a smaller one")
            return message

        await self.app(scope, bounded, send)


class Keyed:
    """Middleware: requires the API key, except on the paths of probes and scrapers."""

    def __init__(self, app: ASGIApp, key: str, open_paths: Collection[str]) -> None:
        self.app = app
        self.key = key.encode()
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, or answer with 401."""
        if scope["type"] != "http" or scope["path"] in self.open_paths or self._has_key(scope):
            await self.app(scope, receive, send)
            return
        error = ApiError(
            401,
            "Incorrect API key; send it in the header 'Authorization: Bearer <key>'",
            code="invalid_api_key",
        )
        response = JSONResponse(error.body(), status_code=401, headers={"WWW-Authenticate": "Bearer"})
        await response(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = header.partition(b" ")
        # Constant time: the duration must not reveal how much of the key is right.
        return hmac.compare_digest(key.strip(), self.key) and scheme.lower() == b"bearer"


async def unless_disconnected(request: Request, answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer, or cancel it as soon as the client disconnects.

    Raises:
        ApiError: 499, the client disconnected.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, watch = asyncio.ensure_future(answer), asyncio.ensure_future(disconnected())
    await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
    for task in (work, watch):
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    if work.cancelled():
        raise ApiError(DISCONNECTED, "The client closed the connection")
    return work.result()


def install_error_handlers(app: Starlette) -> None:
    """Make the application answer every error with JSON in OpenAI's format."""
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(ClientDisconnect, _answer_disconnect)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_fault)


async def _answer_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers())


async def _answer_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=DISCONNECTED)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    api_error = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(api_error.body(), status_code=error.status_code, headers=error.headers)


async def _answer_fault(request: Request, error: Exception) -> Response:
    api_error = ApiError(500, "The server failed on this request; see its log")
    return JSONResponse(api_error.body(), status_code=500)
