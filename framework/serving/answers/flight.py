"""One computation for everybody who asks for the same."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from framework.serving.answers import Event


class Canceled(Exception):
    """The computation was canceled, because its last reader had left or the server ends."""


class Flight:
    """Runs a generator of events in a task of its own, for any number of readers.

    A reader that joins late gets what came before, then the rest as it comes. If the one who began it leaves,
    it goes on while others read; when the last one has left, it is canceled.

    Args:
        events: what is computed; an error of it reaches every reader.
        ended: called once, as soon as nobody should join any more.
    """

    def __init__(self, events: AsyncGenerator[Event, None], ended: Callable[[], object]) -> None:
        self._past: list[Event] = []
        self._error: BaseException | None = None
        self._over = False
        self._news = asyncio.Event()
        self._readers = 0
        self._when_ended = ended
        self._task = asyncio.ensure_future(self._fly(events))

    async def read(self) -> AsyncGenerator[Event, None]:
        """Yield all events from the first one on.

        Raises:
            Canceled: the computation was canceled.
            Exception: it failed.
        """
        self._readers += 1
        position = 0
        try:
            while True:
                while position < len(self._past):
                    position += 1
                    yield self._past[position - 1]
                if self._error is not None:
                    raise self._error.with_traceback(None)  # several raise it
                if self._over:
                    return
                await self._news.wait()
        finally:
            self._readers -= 1
            if not self._readers and not self._over:
                self._end()
                self._task.cancel()

    async def _fly(self, events: AsyncGenerator[Event, None]) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    self._past.append(event)
                    self._tell()
        except Exception as error:
            self._error = error
        except BaseException:
            self._error = Canceled("the computation was canceled")
            raise
        finally:
            self._end()
            self._tell()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._when_ended()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
