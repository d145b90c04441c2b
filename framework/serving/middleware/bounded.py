"""Middleware that bounds what one request can send."""

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.serving.api_error import ApiError
from framework.serving.limits import MAX_BODY
from framework.serving.middleware.error_handlers import error_response

REFUSAL = "refusal"
"""Where a request's state has the error that its connection refuses it with."""


class Bounded:
    """Middleware: refuses what the connection refused, and bodies of more than ``MAX_BODY`` bytes."""

    def __init__(self, app: ASGIApp, open_paths: Collection[str]) -> None:
        self.app = app
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; a body that is too long, or says that it will be, ends in 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = scope.get("state", {}).get(REFUSAL)
        if refusal is not None and not (refusal.status == 429 and scope["path"] in self.open_paths):
            await error_response(scope, refusal, Connection="close")(scope, receive, send)
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
