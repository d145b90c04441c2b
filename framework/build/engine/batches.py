"""Open a model folder to generate for many requests at once.

An engine's module that can do this defines ``open_batches(folder, threads, width)``. Every other engine that
generates answers one request after another.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from framework.build.engine import (
    GREEDY,
    Batches,
    Generates,
    GeneratesScored,
    Progress,
    Sampling,
    Scored,
    engine_module,
    open_engine,
    require,
)
from framework.build.engine.sampling import ALL, BASIC


def open_batches(name: str, folder: Path, threads: int = 0, width: int = 1) -> Batches:
    """Open *folder* with the engine *name*.

    Args:
        name: as for ``open_engine``.
        folder: an exported language model.
        threads: CPU threads; 0 leaves the choice to the runtime.
        width: most requests at once; the engine may have a lower limit.

    Raises:
        ServeError: there is no such engine, it cannot open the folder, or it does not generate text.
    """
    opener = getattr(engine_module(name), "open_batches", None)
    if opener is None:
        return OneByOne(require(open_engine(name, folder, threads), Generates))
    batches: Batches = opener(folder, threads, width)
    return batches


class OneByOne:
    """Any engine that generates: requests run in the order of their arrival, each to its end."""

    width = 1
    joins = False

    def __init__(self, engine: Generates) -> None:
        self._engine = engine
        self._running: deque[tuple[int, Iterator[Scored], bool]] = deque()

    def refuses(self, sampling: Sampling) -> str | None:
        """Return the first field that the engine does not know; see ``Batches``."""
        scores = isinstance(self._engine, GeneratesScored)
        return sampling.first_beyond(ALL - {"grammar"} if scores else BASIC)

    def submit(
        self, request: int, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> None:
        """Add a request; see ``Batches``."""
        if isinstance(self._engine, GeneratesScored):
            tokens = self._engine.generate_scored(prompt, max_new_tokens, sampling)
        else:
            tokens = map(Scored, self._engine.generate(prompt, max_new_tokens, sampling))
        self._running.append((request, tokens, sampling.top_logprobs is not None))

    def step(self) -> list[Progress]:
        """Generate the next token of the first request; see ``Batches``."""
        if not self._running:
            return []
        request, tokens, with_scores = self._running[0]
        chosen = next(tokens, None)
        if chosen is None:
            self._running.popleft()
            return [Progress(request, [], True)]
        return [Progress(request, [chosen.token], False, [chosen] if with_scores else [])]

    def cancel(self, request: int) -> None:
        """Remove a request; see ``Batches``."""
        self._running = deque(each for each in self._running if each[0] != request)
