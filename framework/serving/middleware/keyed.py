"""Middleware that asks for an API key."""

import hmac
from collections.abc import Collection

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from framework.serving.api_error import ApiError


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
