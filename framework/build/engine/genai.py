"""onnxruntime-genai: a decoder graph beside its ``genai_config.json``.

The runtime's own loop generates, with its key-value cache. Logits of whole rows come from a plain
ONNX Runtime session on the same graph, opened on first use.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import GREEDY, Sampling
from framework.build.engine.genai_batches import WIDTH, GenaiBatches, as_serve_error
from framework.build.engine.guidance import guidance
from framework.build.engine.model_folder import GENAI, context_length, end_of_sequence, read_json, room
from framework.build.engine.onnx_session import PAST, open_session
from framework.core.error_text import first_line
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np


def open_folder(folder: Path, threads: int = 0) -> "GenaiEngine":
    """Open a folder that onnxruntime-genai's model builder wrote.

    Args:
        folder: genai_config.json, model.onnx and its external data.
        threads: CPU threads; 0 leaves the choice to the runtime.

    Raises:
        ServeError: the folder has another layout, or the runtime cannot read it.
    """
    return GenaiEngine(folder, _open_model(folder, threads), threads)


def open_batches(folder: Path, threads: int = 0, width: int = WIDTH) -> GenaiBatches:
    """Open a folder to generate for up to *width* requests at once, at most four; see ``open_folder``.

    Raises:
        ServeError: the folder has another layout, or the runtime cannot read or schedule it.
    """
    width = min(width, WIDTH)
    model = _open_model(folder, threads, {"engine": {"static_batching": {"max_batch_size": width}}})
    return GenaiBatches(model, GenaiEngine(folder, model, threads), folder, width)


def _open_model(folder: Path, threads: int, settings: Mapping[str, Any] | None = None) -> Any:
    """Return the runtime's model; *settings* are laid over the folder's own."""
    import onnxruntime_genai as og

    if not (folder / GENAI).is_file():
        raise ServeError(f"{folder}: has no {GENAI}; export the model again with export=onnx-genai")
    og.disable_telemetry_events()
    try:
        config = og.Config(str(folder))
        if threads:
            session = {"session_options": {"intra_op_num_threads": threads}}
            config.overlay(json.dumps({"model": {"decoder": session}}))
        if settings:
            config.overlay(json.dumps(settings))
        return og.Model(config)
    except Exception as error:  # the runtime raises bare RuntimeError and its own types
        raise ServeError(f"{folder}: onnxruntime-genai cannot open it: {first_line(error)}") from error


class GenaiEngine:
    """An open language model."""

    runtime: ClassVar[str] = "genai"

    def __init__(self, folder: Path, model: Any, threads: int) -> None:
        self.folder = folder
        self.model = model
        self.threads = threads
        self.ends = end_of_sequence(folder)
        self.context = context_length(folder)

    @cached_property
    def session(self) -> Any:
        """The same graph as a plain session; it loads the weights a second time."""
        decoder = read_json(self.folder, GENAI)["model"]["decoder"]
        return open_session(self.folder / decoder["filename"], self.threads)

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, vocabulary)."""
        import numpy as np

        past = self._empty_cache()
        inputs = {value.name for value in self.session.get_inputs()}
        by_row = []
        for row in rows:
            ids = np.asarray([row], np.int64)
            arrays = {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "position_ids": np.arange(ids.shape[1], dtype=np.int64)[None],
                **past,
            }
            if unknown := inputs - arrays.keys():
                raise ServeError(
                    f"{self.folder}: its graph has the input {min(unknown)}, which is no key-value cache; "
                    "export the model with export=transformers"
                )
            with as_serve_error(self.folder):
                (scores,) = self.session.run(["logits"], {name: arrays[name] for name in inputs})
            by_row.append(np.asarray(scores[0], np.float32))
        return by_row

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids that follow *prompt*, one by one.

        Stops before the first end-of-sequence token, after *max_new_tokens*, or when the context is full.

        Raises:
            ServeError: the prompt is longer than the context.
        """
        import numpy as np

        length = len(prompt) + room(len(prompt), max_new_tokens, self.context)
        if length == len(prompt):
            return
        min_length = {"min_length": length} if sampling.past_end else {}
        options = {"max_length": length, **min_length, **_search(sampling)}
        grammar = guidance(sampling.grammar) if sampling.grammar else None
        for (token,) in self._generated(np.asarray(prompt, np.int32), options, grammar):
            if token in self.ends and not sampling.past_end:
                return
            yield token

    def generate_together(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Yield the next token of every prompt, greedily, ignoring end tokens; prompts have one length."""
        import numpy as np

        length = len(prompts[0]) + new_tokens
        options = {"max_length": length, "min_length": length, "batch_size": len(prompts), **_search(GREEDY)}
        yield from self._generated(np.asarray(prompts, np.int32), options)

    def _generated(
        self, prompts: "np.ndarray", options: dict[str, Any], grammar: tuple[str, str] | None = None
    ) -> Iterator[list[int]]:
        """Yield the next token of every prompt until the runtime is done.

        Raises:
            ServeError: the runtime cannot run the graph.
        """
        import onnxruntime_genai as og

        with as_serve_error(self.folder):
            params = og.GeneratorParams(self.model)
            params.set_search_options(**options)
            if grammar:
                params.set_guidance(*grammar)
            generator = og.Generator(self.model, params)
            generator.append_tokens(prompts)
        while not generator.is_done():
            with as_serve_error(self.folder):
                generator.generate_next_token()
                tokens = [int(token) for token in generator.get_next_tokens()]
            yield tokens

    def _empty_cache(self) -> "dict[str, np.ndarray]":
        """Return a key-value cache of no positions: arrays of shape (1, heads, 0, head size)."""
        import numpy as np

        decoder = read_json(self.folder, GENAI)["model"]["decoder"]
        shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        return {
            value.name: np.zeros(shape, kinds[value.type])
            for value in self.session.get_inputs()
            if value.name.startswith(PAST)
        }


def _search(sampling: Sampling) -> dict[str, Any]:
    """Return the runtime's search options; all are set, since the folder has its own defaults."""
    penalty = {"repetition_penalty": sampling.repetition_penalty}
    if sampling.temperature == 0:
        return {"do_sample": False, "num_beams": 1, **penalty}
    seed = {} if sampling.seed is None else {"random_seed": sampling.seed}
    return {
        "do_sample": True,
        "num_beams": 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        **penalty,
        **seed,
    }
