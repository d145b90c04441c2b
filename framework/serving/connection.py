"""One client's connection: how long it may take to send a request, how much of it, and how many there are.

uvicorn bounds only the time between requests. Bytes that are too many or too late never become a request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from framework.serving.api_error import ApiError
from framework.serving.limits import MAX_HEAD, MAX_HEADERS, Limits
from framework.serving.middleware.bounded import REFUSAL

SPARE = 64
"""Connections above the most, so that probes and refusals still have one."""


class Connection(HttpToolsProtocol):
    """Closes connections that send slowly, or too much before the body."""

    limits: Limits
    """Set by the subclass that ``bounded_by`` returns."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; a connection beyond the spare ones is closed at once."""
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = None
        self._in_head, self._head = True, 0
        if len(self.connections) > self.limits.max_connections + SPARE:
            transport.abort()
            return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read *data*; answer a head that is too long."""
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self._end(431)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a request."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        if self._late is None:
            self._expect()

    def on_headers_complete(self) -> None:
        """Note why the request is refused, if it is; ``Bounded`` answers."""
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD or len(self.headers) > MAX_HEADERS:
            text = f"The headers have more than {MAX_HEAD} bytes, or are more than {MAX_HEADERS}; send fewer"
            self._refuse(ApiError(431, text))
        elif len(self.connections) > self.limits.max_connections:
            text = "The server has too many connections; retry later"
            self._refuse(ApiError(429, text, code="too_many_connections", retry_after=1))
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop waiting: the request is here."""
        self._expect_nothing()
        super().on_message_complete()

    def _refuse(self, error: ApiError) -> None:
        state: dict[str, Any] = self.scope["state"]
        state[REFUSAL] = error

    def _expect(self) -> None:
        self._late = self.loop.call_later(self.limits.receive_seconds, self._expired)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _expired(self) -> None:
        """Close the connection; its application gets the disconnect."""
        self._late = None
        if self.transport.is_closing():
            return
        if self.pipeline:  # it waits for an earlier answer, not for its client
            self._expect()
            return
        waiting = not self._in_head and self.cycle is not None and not self.cycle.response_started
        if waiting or (self._in_head and self._head):
            self._end(408)
        else:
            self.transport.close()

    def _end(self, status: int) -> None:
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


def bounded_by(limits: Limits) -> type[Connection]:
    """Return the class of connections that *limits* bound, as uvicorn wants it."""
    return type("BoundedConnection", (Connection,), {"limits": limits})
