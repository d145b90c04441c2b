"""Stop work for clients that have gone."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request

from framework.serving.api_error import ApiError

Answer = TypeVar("Answer")
DISCONNECTED = 499
"""The status of a request whose client left before the last byte; no client sees it."""


async def unless_disconnected(request: Request, answer: Awaitable[Answer]) -> Answer:
    """Return the answer, or cancel it as soon as the client disconnects.

    Raises:
        ApiError: 499, the client disconnected.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, watch = asyncio.ensure_future(answer), asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:  # also where the route itself is cancelled, as a background job's is
        for task in (work, watch):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    if work.cancelled():
        raise ApiError(DISCONNECTED, "The client closed the connection")
    return work.result()
