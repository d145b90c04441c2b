"""Middleware that asks for an API key, and finds out whose it is."""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from framework.serving.access.keys import Keys
from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.middleware.error_handlers import error_response


class Keyed:
    """Middleware: requires an API key, except on the paths of probes and scrapers."""

    def __init__(self, app: ASGIApp, keys: Keys, open_paths: Collection[str]) -> None:
        self.app = app
        self.keys = keys
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with ``scope["state"]["caller"]``, or answer with 401."""
        app = self.app
        if scope["type"] == "http" and scope["path"] not in self.open_paths:
            try:
                scope.setdefault("state", {})["caller"] = self._caller(scope)
            except ApiError as error:
                app = error_response(scope, error, **{"WWW-Authenticate": "Bearer"})
        await app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = header.partition(b" ")
        entry = self.keys.find(key.strip())
        if entry is None or scheme.lower() != b"bearer":
            advice = "Incorrect API key; send it in the header 'Authorization: Bearer <key>'"
            raise ApiError(401, advice, code="invalid_api_key")
        if entry.expired():
            raise ApiError(401, "This API key has expired; ask for another", code="invalid_api_key")
        return entry.caller()
