"""Middleware that traces requests."""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.middleware.disconnect import DISCONNECTED
from framework.serving.telemetry.traces import Tracing

_HEADERS = ("traceparent", "tracestate")


class Traced:
    """Middleware: traces the requests of some routes, and streams until their last byte."""

    def __init__(self, app: ASGIApp, tracing: Tracing, routes: Collection[str]) -> None:
        self.app = app
        self.tracing = tracing
        self.routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, within a trace if the request is for one of the routes."""
        if scope["type"] != "http" or scope["path"] not in self.routes:
            await self.app(scope, receive, send)
            return
        code, complete = 500, False

        async def observed(message: Message) -> None:
            nonlocal code, complete
            code = message.get("status", code)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        headers = {name: value for name, value in named if name in _HEADERS}
        with self.tracing.request(scope["method"], scope["path"], headers) as trace:
            failed = True
            try:
                await self.app(scope, receive, observed)
                failed = False
            finally:
                code = code if complete or failed else DISCONNECTED
                trace.set({"http.response.status_code": code})
                if code >= 500:
                    trace.set({"error.type": str(code)})
                    trace.fail()
