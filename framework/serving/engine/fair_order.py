"""The order in which waiting requests begin: each caller gets its share, first come first served within one.

It is start-time fair queueing (Goyal, Vin and Cheng, 1996). Each caller has a clock of the work that it was
given, divided by its weight, and the caller whose clock is furthest behind is next. A caller that has waited
for nothing cannot save up a share: its clock starts at that of the request that began last.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from framework.serving.caller import Caller


class Waiting(Protocol):
    """A request that waits."""

    number: int
    caller: Caller
    work: float


Request = TypeVar("Request", bound=Waiting)


class FairOrder(Generic[Request]):
    """Waiting requests. Iteration has the order of their arrival, ``take`` the fair one."""

    def __init__(self) -> None:
        self._all: dict[int, Request] = {}
        self._queues: dict[str, dict[int, Request]] = {}
        self._clocks: dict[str, float] = {}
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._all.values())

    def add(self, request: Request) -> None:
        """Add a request behind its caller's others."""
        name = request.caller.name
        if name not in self._queues:
            self._clocks[name] = self._clock(name)
        self._all[request.number] = request
        self._queues.setdefault(name, {})[request.number] = request

    def restore(self, requests: Iterable[Request]) -> None:
        """Put requests that ``take`` returned back in front of their callers' others."""
        kept = list(requests)
        others = list(self)
        self._all.clear()
        self._queues.clear()
        for request in kept:
            self._clocks[request.caller.name] -= request.work / request.caller.weight
            self._now = min(self._now, self._clocks[request.caller.name])
        for request in (*kept, *others):
            self.add(request)

    def discard(self, number: int) -> None:
        """Forget a request, if it waits."""
        request = self._all.pop(number, None)
        if request is not None:
            self._leave(request)

    def take(self) -> Request:
        """Remove the request that is next, and return it."""
        name = min(self._queues, key=self._clocks.__getitem__)  # the one that has waited longest, if equal
        request = next(iter(self._queues[name].values()))
        self._now = max(self._now, self._clocks[name])
        self._clocks[name] += request.work / request.caller.weight
        del self._all[request.number]
        self._leave(request)
        return request

    def settle(self, request: Request, work: float) -> None:
        """Correct the clock of a caller whose request had *work* instead of what was expected."""
        name = request.caller.name
        if name in self._clocks:
            self._clocks[name] += (work - request.work) / request.caller.weight

    def ahead_of(self, caller: Caller) -> Iterator[Request]:
        """Yield the requests that begin before a new one of *caller* would, in their order."""
        starts = list[tuple[float, int, Request]]()
        for name, queue in self._queues.items():
            clock = self._clocks[name]
            for request in queue.values():
                starts.append((clock, request.number, request))
                clock += request.work / request.caller.weight
        own = self._queues.get(caller.name, {}).values()
        limit = self._clock(caller.name) + sum(request.work / request.caller.weight for request in own)
        yield from (request for start, _, request in sorted(starts) if start <= limit)

    def _clock(self, name: str) -> float:
        clock = self._clocks.get(name, self._now)
        return clock if name in self._queues else max(clock, self._now)

    def _leave(self, request: Request) -> None:
        name = request.caller.name
        del self._queues[name][request.number]
        if not self._queues[name]:
            del self._queues[name]
