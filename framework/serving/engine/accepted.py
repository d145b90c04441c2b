"""The requests that the server has accepted and not yet answered.

It decides how many it accepts, hands them to the engine in a fair order, and decides what becomes of them
when the engine dies. It knows neither HTTP nor processes. One event loop calls it.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from framework.serving.api_error import ApiError, error_event
from framework.serving.caller import ANYBODY, Caller
from framework.serving.engine.fair_order import FairOrder

MOST = 4096
"""Most accepted requests, whatever their expected wait; it bounds memory. A caller with less than its share
of them is accepted beyond it."""
CRASHES = 2
"""A request that was in the engine when it died this often is not tried again: it may be the cause."""
_KEPT = 0.98
"""Weight of what was measured before, at each new measurement."""


@dataclass(eq=False)
class Ticket:
    """One accepted request, or one text of a classifier's request."""

    number: int
    payload: Any
    work: float
    """Expected tokens of the answer; 1 for a text."""
    caller: Caller = ANYBODY
    events: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)
    """What the engine says about it."""
    done: float = 0.0
    """Tokens generated so far."""
    begun: bool = False
    """Whether its answer has begun, so that it cannot be given to another engine."""
    crashes: int = 0


class Accepted:
    """All accepted requests."""

    def __init__(self, max_wait_seconds: float) -> None:
        self._max_wait = max_wait_seconds
        self._tickets: dict[int, Ticket] = {}
        self._waiting: FairOrder[Ticket] = FairOrder()
        self._in_engine: dict[int, Ticket] = {}
        self._last = 0
        self._send: Callable[[dict[str, Any]], object] | None = None
        self._width, self._window = 1, 1
        self._work, self._seconds = 1.0, 1.0
        self._full_at: float | None = None
        """When the last step came, if its batch was full and the engine had work after it."""
        self._mean: float | None = None
        loading = "The model is still loading; retry in a moment"
        self._loading = ApiError(503, loading, code="loading", retry_after=1)
        self.refusal: ApiError | None = self._loading
        """Why no request is accepted, whatever the queue; None while requests are."""
        self.restart_seconds = 0.0
        """How long the engine still needs to start again."""

    def __len__(self) -> int:
        return len(self._tickets)

    def expected_tokens(self, limit: int) -> float:
        """Return how many tokens an answer of at most *limit* probably has, from the answers so far."""
        return float(limit) if self._mean is None else min(float(limit), self._mean)

    def expected_wait(self, caller: Caller = ANYBODY) -> float:
        """Return in how many seconds a new request of *caller* would begin, at the engine's measured rate.

        Each of the batch's rows advances at an equal share of the rate; a request begins when a row is free.
        """
        ahead = (*self._in_engine.values(), *self._waiting.ahead_of(caller))
        remaining = [max(ticket.work - ticket.done, 1.0) for ticket in ahead]
        if len(remaining) < self._width:
            return self.restart_seconds
        rows = remaining[: self._width]
        heapq.heapify(rows)
        for work in remaining[self._width :]:
            heapq.heapreplace(rows, rows[0] + work)
        return rows[0] * self._width * self._seconds / self._work + self.restart_seconds

    def admit(self, requests: int = 1, caller: Caller = ANYBODY) -> None:
        """Check that *requests* more of *caller* can be accepted.

        Raises:
            ApiError: 503 while the server starts or stops, 429 if they would wait too long.
        """
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)  # it is raised often, and would grow
        wait = self.expected_wait(caller)
        late = wait - self._max_wait
        if late <= 0 and self._has_room(requests, caller):
            return
        raise ApiError(
            429,
            f"The server is busy: this request would wait about {math.ceil(wait)} seconds; retry later",
            code="overloaded",
            retry_after=max(1, math.ceil(late)),
        )

    def _has_room(self, requests: int, caller: Caller) -> bool:
        if len(self._tickets) + requests <= MOST:
            return True
        names = [ticket.caller.name for ticket in self._tickets.values()]
        others = set(names) - {caller.name}
        return bool(others) and names.count(caller.name) + requests <= MOST // (len(others) + 1)

    def add(self, payload: Any, work: float, caller: Caller = ANYBODY) -> Ticket:
        """Accept a request of *caller*."""
        self._last += 1
        ticket = self._tickets[self._last] = Ticket(self._last, payload, work, caller)
        self._waiting.add(ticket)
        self._dispatch()
        return ticket

    def remove(self, ticket: Ticket) -> None:
        """Forget a request; if it is not answered yet, the engine stops working on it."""
        self._tickets.pop(ticket.number, None)
        self._waiting.discard(ticket.number)
        if self._in_engine.pop(ticket.number, None) and self._send is not None:
            self._send({"number": ticket.number})
        self._dispatch()

    def started(self, send: Callable[[dict[str, Any]], object], rate: float, width: int, window: int) -> None:
        """Use an engine that is ready.

        Args:
            send: passes one message to it.
            rate: tokens, or texts, that it does in one second when its batch is full.
            width: requests in a full batch.
            window: most requests to send before earlier ones are answered.
        """
        self._send, self._width, self._window = send, width, window
        self._work, self._seconds = rate, 1.0
        self.restart_seconds = 0.0
        if self.refusal is self._loading:  # else the server is shutting down
            self.refusal = None
        self._dispatch()

    def received(self, step: dict[str, Any]) -> None:
        """Pass the events of one step of the engine on to their requests, and learn its rate."""
        now = time.monotonic()
        if step["full"]:
            # What passes between two steps counts too, but not the time in which the process hung.
            between = now - self._full_at if self._full_at is not None else 0.0
            self._work = _KEPT * self._work + step["work"]
            self._seconds = _KEPT * self._seconds + min(max(step["seconds"], between), 2 * step["seconds"])
        for number, event in step["events"]:
            ticket = self._tickets.get(number)
            if ticket is None:
                continue  # its client has gone
            ticket.begun = True
            ticket.done = event.get("tokens", ticket.done)
            if tokens := event.get("completion_tokens"):
                self._waiting.settle(ticket, tokens)
                self._mean = tokens if self._mean is None else _KEPT * self._mean + (1 - _KEPT) * tokens
            if is_last(event):
                self._in_engine.pop(number, None)
            ticket.events.put_nowait(event)
        self._dispatch()
        self._full_at = now if step["full"] and self._in_engine else None

    def pause(self) -> None:
        """Send nothing more: the engine has closed its end, and its process may take a while to be gone."""
        self._send = None

    def lost_engine(self, retry_after: int) -> tuple[int, int]:
        """Fail the begun requests, keep the others for the next engine; return how many of each."""
        self._send = None
        self.restart_seconds = float(retry_after)
        message = "The model's process failed on this request; retry it"
        error = ApiError(503, message, code="engine_failed", retry_after=retry_after)
        kept = []
        for ticket in self._in_engine.values():
            ticket.crashes += 1
            if ticket.begun or ticket.crashes >= CRASHES:
                _fail(ticket, error)
            else:
                kept.append(ticket)
        failed = len(self._in_engine) - len(kept)
        self._waiting.restore(kept)
        self._in_engine = {}
        return failed, len(self._waiting)

    def fail_all(self, error: ApiError) -> int:
        """End every request with *error*; return how many there were, and accept no more."""
        self.refusal = error
        unanswered = [*self._in_engine.values(), *self._waiting]
        for ticket in unanswered:
            _fail(ticket, error)
        return len(unanswered)

    def _dispatch(self) -> None:
        while self._send is not None and self._waiting and len(self._in_engine) < self._window:
            ticket = self._waiting.take()
            self._in_engine[ticket.number] = ticket
            self._send({"number": ticket.number, "request": ticket.payload})


def is_last(event: dict[str, Any]) -> bool:
    """Return whether *event* ends its request: neither the prompt's length nor a piece of text."""
    return not ("prompt_tokens" in event or "text" in event)


def _fail(ticket: Ticket, error: ApiError) -> None:
    ticket.events.put_nowait(error_event(error))
