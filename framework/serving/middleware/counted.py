"""Middleware that counts and times requests."""

import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.middleware.disconnect import DISCONNECTED
from framework.serving.middleware.error_handlers import REFUSED
from framework.serving.telemetry.metrics import Metrics

TIMED_OUT = (408, DISCONNECTED, 504)
"""Statuses of a request that timed out."""


class Counted:
    """Middleware: counts and times the requests of some routes, and streams until their last byte."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Collection[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and count the request if it is for one of the routes."""
        route = scope.get("path", "")
        if route not in self.routes:
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
                    self.metrics.timeouts.labels(route).inc()
                refused = scope.get("state", {}).get(REFUSED, "")
                self.metrics.requests.labels(route, str(code), refused).inc()
                self.metrics.adapters.answered(str(code), refused)
                self.metrics.seconds.labels(route).observe(time.monotonic() - started)
