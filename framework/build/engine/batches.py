"""Open a model folder to generate for many requests at once.

An engine's module that can do this defines ``open_batches(folder, threads, width)``. Every other engine that
generates answers one request after another. One that can change its adapter between two answers defines
``open_adapted(folder, threads, adapters, width)``.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from framework.build.engine import (
    GREEDY,
    AdaptedBatches,
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
from framework.build.engine.guidance import GrammarError, Guided
from framework.build.engine.sampling import ALL, BASIC
from framework.core.errors import ServeError


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


def answers_together(name: str) -> bool:
    """Return whether the engine *name* generates several answers at once; no unknown one does."""
    try:
        return hasattr(engine_module(name), "open_batches")
    except ServeError:
        return False  # a rule of the plan says so, with what to do


def generate_all(
    batches: Batches, prompts: Sequence[Sequence[int]], limits: Sequence[int]
) -> list[list[int]]:
    """Return the greedy answer to each prompt, generated in batches as full as they can be.

    Args:
        batches: an opened folder without running requests.
        prompts: token ids.
        limits: most new tokens of each answer, at least 1.

    Raises:
        ServeError: the runtime failed.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    waiting, running = deque(range(len(prompts))), 0
    while waiting or running:
        while waiting and running < batches.width:
            number = waiting.popleft()
            batches.submit(number, prompts[number], limits[number])
            running += 1
        for progress in batches.step():
            answers[progress.request] += progress.tokens
            running -= progress.ended
    return answers


def open_adapted(
    name: str, folder: Path, threads: int, adapters: Mapping[str, Path], width: int = 1
) -> AdaptedBatches:
    """Open *folder* with the engine *name*, and *adapters* beside it.

    Args:
        name: as for ``open_engine``.
        folder: an exported language model.
        threads: CPU threads; 0 leaves the choice to the runtime.
        adapters: the folder of each, as peft writes it.
        width: most requests at once; the engine may have a lower limit.

    Raises:
        ServeError: the engine cannot open the folder or an adapter, or has no adapters.
    """
    opener = getattr(engine_module(name), "open_adapted", None)
    if opener is None:
        raise ServeError(
            f"the {name} engine has no adapters that can be chosen by name; build the release with "
            "export=openvino or export=transformers, or an adapter of its own as a merged release"
        )
    batches: AdaptedBatches = opener(folder, threads, adapters, width)
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
        does = ALL if isinstance(self._engine, GeneratesScored) else BASIC
        guided = isinstance(self._engine, Guided) and self._engine.grammars() is not None
        return sampling.first_beyond(does if guided else does - {"grammar"})

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
        try:
            chosen = next(tokens, None)
        except GrammarError as error:
            self._running.popleft()
            return [Progress(request, [], True, failure=str(error))]
        if chosen is None:
            self._running.popleft()
            return [Progress(request, [], True)]
        return [Progress(request, [chosen.token], False, [chosen] if with_scores else [])]

    def cancel(self, request: int) -> None:
        """Remove a request; see ``Batches``."""
        self._running = deque(each for each in self._running if each[0] != request)
