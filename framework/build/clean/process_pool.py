"""Apply a function to batches in several processes, with the results in the order of the batches."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_function: Callable[[Any], Any]
"""In a child process: what is applied to every batch; it is sent once, since it may hold much."""


def ordered_map(
    function: Callable[[_Item], _Result], batches: Iterable[_Item], workers: int
) -> Iterator[_Result]:
    """Yield ``function(batch)`` for each batch, in order; two batches a worker are in memory at most.

    Args:
        function: can be pickled, and depends on nothing but its argument.
        batches: what it is applied to.
        workers: processes; 1 applies it in this one.
    """
    if workers == 1:
        yield from map(function, batches)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    with ProcessPoolExecutor(workers, context, _start, (function,)) as pool:
        pending: deque[Future[_Result]] = deque()
        for batch in batches:
            pending.append(pool.submit(_apply, batch))
            if len(pending) == 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this process when the one that started it is gone, even after ``kill -9`` of that one."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def _apply(batch: Any) -> Any:
    return _function(batch)
