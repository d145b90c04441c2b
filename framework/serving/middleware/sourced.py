"""Middleware that reads what a client wants of the cache and the fallback, and says what it got."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.answers.answer_use import FALLBACK, SOURCE, AnswerUse, begin_use

_FRESH = {"no-cache", "no-store", "max-age=0"}
"""What a client's ``Cache-Control`` says if no earlier answer will do."""


class Sourced:
    """Middleware: begins the ``AnswerUse`` of each request for an answer, and knows those under way.

    Args:
        app: the application.
        routes: paths that answer requests.
        under_way: holds the ``AnswerUse`` of each request until its last byte.
    """

    def __init__(self, app: ASGIApp, routes: Collection[str], under_way: set[object]) -> None:
        self.app, self.routes, self.under_way = app, frozenset(routes), under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and add headers that say who answered."""
        if scope["type"] != "http" or scope["path"] not in self.routes:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        wishes = {wish.strip().lower() for wish in headers.get("cache-control", "").split(",")}
        use = AnswerUse(
            read=not wishes & _FRESH, write="no-store" not in wishes, falls_back=FALLBACK not in headers
        )
        begin_use(use)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                if use.sources:
                    added[SOURCE] = ", ".join(use.sources)
                if use.substitute is not None:
                    added[FALLBACK] = use.substitute.reason
            await send(message)

        self.under_way.add(use)
        try:
            await self.app(scope, receive, marked)
        finally:
            self.under_way.discard(use)
