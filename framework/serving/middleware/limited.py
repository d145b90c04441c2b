"""Middleware that counts each key's requests against its limit."""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.access.allowance import Allowances
from framework.serving.api_error import ApiError
from framework.serving.caller import ANYBODY
from framework.serving.middleware.error_handlers import error_response

DEFERRED = "deferred"
"""Where a request's state says that it is answered, and counted, later: by a background job."""


class Limited:
    """Middleware: refuses requests over their key's limit, and tells how much is left."""

    def __init__(self, app: ASGIApp, allowances: Allowances, routes: Collection[str]) -> None:
        self.app = app
        self.allowances = allowances
        self.routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, or answer with 429; what the server refuses itself is not counted."""
        if scope["type"] != "http" or scope["path"] not in self.routes:
            await self.app(scope, receive, send)
            return
        allowance = self.allowances.of(scope.get("state", {}).get("caller", ANYBODY))

        async def informed(message: Message) -> None:
            if message["type"] == "http.response.start":
                later = scope.get("state", {}).get(DEFERRED, False)
                refused = message["status"] in (429, 503)
                if (refused or later) and taken and allowance.requests is not None:
                    allowance.requests.give(1)
                own = [(name.encode(), value.encode()) for name, value in allowance.headers().items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        taken, app = True, self.app
        try:
            allowance.take("requests", 1)
        except ApiError as error:
            taken, app = False, error_response(scope, error)
        await app(scope, receive, informed)
