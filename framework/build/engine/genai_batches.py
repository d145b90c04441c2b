"""onnxruntime-genai's ``Engine``: up to four answers on CPUs, generated in one batch.

The batch is static: a request that arrives while others run waits until they have ended. A static batch has
one random generator, so a request with a seed runs beside it with a generator of its own.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from framework.build.engine import GREEDY, Generates, Progress, Sampling
from framework.build.engine.guidance import guidance
from framework.build.engine.sampling import BASIC
from framework.core.error_text import first_line
from framework.core.errors import ServeError

WIDTH = 4
"""Most rows of a static batch, as the runtime has it."""
_EVENTS = 64
"""Most events of one step; each row has at most two."""
_DOES = BASIC | {"top_k", "repetition_penalty", "grammar"}


@contextlib.contextmanager
def as_serve_error(folder: Path) -> Iterator[None]:
    """Turn the runtime's errors, which share no public base, into one sentence.

    Raises:
        ServeError: the runtime cannot run the graph in *folder*.
    """
    try:
        yield
    except Exception as error:
        raise ServeError(
            f"{folder}: onnxruntime-genai cannot run it: {first_line(error)}; choose another export, such as "
            "export=transformers"
        ) from error


class GenaiBatches:
    """An open language model that answers several requests at once."""

    joins = False

    def __init__(self, model: Any, single: Generates, folder: Path, width: int) -> None:
        """Start the runtime's scheduler.

        Args:
            model: the runtime's model, opened with a static batch of *width* rows.
            single: an engine on the same model, for requests with a seed.
            folder: the model's, for messages.
            width: rows of the batch.

        Raises:
            ServeError: the runtime has no scheduler for this model.
        """
        import onnxruntime_genai as og

        self.width = width
        self._single, self._folder = single, folder
        with as_serve_error(folder):
            self._engine = og.Engine(model)
        self._buffer = self._engine.create_event_buffer(_EVENTS)
        self._numbers: dict[Any, int] = {}
        self._running: dict[int, tuple[Any, int]] = {}
        self._seeded: dict[int, Iterator[int]] = {}

    def refuses(self, sampling: Sampling) -> str | None:
        """Return the first field that the runtime does not know; see ``Batches``."""
        return sampling.first_beyond(_DOES)

    def submit(
        self, request: int, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> None:
        """Add a request; see ``Batches``."""
        import numpy as np
        import onnxruntime_genai as og

        if sampling.seed is not None and sampling.temperature:
            self._seeded[request] = self._single.generate(prompt, max_new_tokens, sampling)
            return
        with as_serve_error(self._folder):
            room = og.RequestOptions()  # else each row has a key-value cache for the whole context
            room.set_max_session_tokens(len(prompt) + max_new_tokens)
            turn = self._engine.create_request(options=room)
            options = og.TurnOptions(turn)
            options.set_max_generated_tokens(max_new_tokens)
            options.set_do_sample(sampling.temperature > 0)
            if sampling.temperature:
                options.set_temperature(sampling.temperature)
                options.set_top_p(sampling.top_p)
                options.set_top_k(sampling.top_k)
            if sampling.repetition_penalty != 1:
                options.set_repetition_penalty(sampling.repetition_penalty)
            if sampling.past_end:
                options.set_min_generated_tokens(max_new_tokens)
            if sampling.grammar:
                options.set_guidance(*guidance(sampling.grammar))
            self._running[request] = turn, turn.begin_turn(np.asarray(prompt, np.int32), options)
        self._numbers[turn] = request

    def step(self) -> list[Progress]:
        """Generate the next tokens; see ``Batches``."""
        progress = self._batched() if self._running else []
        for request, tokens in list(self._seeded.items()):
            token = next(tokens, None)
            if token is None:
                del self._seeded[request]
            progress.append(Progress(request, [] if token is None else [token], token is None))
        return progress

    def _batched(self) -> list[Progress]:
        import onnxruntime_genai as og

        with as_serve_error(self._folder):
            events = self._engine.run(self._buffer)
        tokens: dict[int, list[int]] = {}
        ended: set[int] = set()
        for event in self._buffer if events is None else events:
            request = self._numbers.get(event.request)
            if request is None:
                continue  # canceled
            got = tokens.setdefault(request, [])
            if int(event.flags.value) & int(og.EngineEventFlags.TOKEN.value):
                got += [int(event.token)] if int(event.token) not in self._single.ends else []
            if event.finish_reason == og.FinishReason.FAILED:
                raise ServeError(f"{self._folder}: onnxruntime-genai failed ({event.error_code.name})")
            if event.finish_reason != og.FinishReason.NONE:
                ended.add(request)
                self._close(request)
        return [Progress(request, got, request in ended) for request, got in tokens.items()]

    def cancel(self, request: int) -> None:
        """Remove a request; see ``Batches``."""
        self._seeded.pop(request, None)
        if request in self._running:
            turn, number = self._running[request]
            turn.cancel_turn(number)
            self._close(request)

    def _close(self, request: int) -> None:
        turn, _ = self._running.pop(request)
        del self._numbers[turn]
        turn.close()
