"""OpenVINO GenAI's scheduler: answers join and leave one running batch between two tokens.

It computes as the engine ``openvino`` does, so that the served model is the evaluated one. Equal prompt
prefixes are computed once.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.engine import GREEDY, Progress, Sampling, Scored
from framework.build.engine.model_folder import end_of_sequence
from framework.build.engine.openvino_grammar import Grammars, open_grammars
from framework.build.engine.sampling import BASIC
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import openvino
    import openvino_genai

PROMPT_TOKENS = 256
"""Most tokens of one step: a longer prompt is read in parts, so that running answers do not stop for it."""
CACHE_GIB = 1
"""Memory of the key-value cache; the runtime takes whole GiB. Answers that do not fit wait."""
_WHOLE_VOCABULARY = 2**31 - 1
_BELOW_ONE = 1 - 2**-20
"""The runtime takes no ``min_p`` of 1, which leaves the likeliest tokens."""
_DOES = BASIC | {
    *("top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"),
}


class OpenVinoBatches:
    """An open language model that answers several requests at once."""

    joins = True

    def __init__(
        self,
        pipeline: "openvino_genai.ContinuousBatchingPipeline",
        folder: Path,
        width: int,
        grammars: Grammars | None,
    ) -> None:
        """Generate with a pipeline.

        Args:
            pipeline: the runtime's.
            folder: the model's.
            width: most answers at once.
            grammars: opens grammars; None if there can be none.
        """
        self.width = width
        self._grammars = grammars
        self._pipeline, self._folder = pipeline, folder
        self._ends = end_of_sequence(folder)
        self._running: dict[int, tuple[Any, Sampling]] = {}
        self._last = 0

    def refuses(self, sampling: Sampling) -> str | None:
        """Return the first field that the runtime does not know; see ``Batches``."""
        does = _DOES if self._grammars is None else _DOES | {"grammar"}
        if (field := sampling.first_beyond(does)) is None or field != "top_logprobs":
            return field
        # It gives the chosen token's, after penalties and temperature.
        plain = replace(sampling, top_logprobs=None, past_end=False) == GREEDY
        return None if plain and sampling.top_logprobs in (0, 1) else field

    def submit(
        self, request: int, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> None:
        """Add a request; see ``Batches``."""
        import numpy as np
        import openvino

        self._last += 1  # the runtime may still hold a canceled request's number
        ids = openvino.Tensor(np.asarray([prompt], np.int64))
        try:
            config = self._config(max_new_tokens, sampling)
            self._running[request] = self._pipeline.add_request(self._last, ids, config), sampling
        except RuntimeError as error:
            raise ServeError(f"{self._folder}: OpenVINO GenAI refuses a request: {reason(error)}") from error

    def step(self) -> list[Progress]:
        """Generate the next tokens; see ``Batches``."""
        from openvino_genai import GenerationStatus

        if not self._running:
            return []
        try:
            self._pipeline.step()
        except RuntimeError as error:
            raise ServeError(f"{self._folder}: OpenVINO GenAI failed: {reason(error)}") from error
        progress = []
        for request, (handle, sampling) in list(self._running.items()):
            ended = handle.get_status() != GenerationStatus.RUNNING
            scores = list(self._read(handle, sampling))
            if ended:
                del self._running[request]
            if scores or ended:
                tokens = [each.token for each in scores]
                progress.append(
                    Progress(request, tokens, ended, [] if sampling.top_logprobs is None else scores)
                )
        return progress

    def _read(self, handle: Any, sampling: Sampling) -> Iterator[Scored]:
        """Yield the tokens that came, without end tokens unless they are ignored."""
        while handle.can_read():
            for output in handle.read().values():
                for token, logprob in zip(output.generated_ids, output.generated_log_probs, strict=True):
                    if sampling.past_end or token not in self._ends_of(sampling):
                        pair = (int(token), float(logprob))
                        yield Scored(*pair, (pair,) if sampling.top_logprobs else ())

    def cancel(self, request: int) -> None:
        """Remove a request; see ``Batches``."""
        if running := self._running.pop(request, None):
            running[0].cancel()

    def _ends_of(self, sampling: Sampling) -> Set[int]:
        return self._ends | {self._grammars.end} if sampling.grammar and self._grammars else self._ends

    def _config(self, max_new_tokens: int, sampling: Sampling) -> "openvino_genai.GenerationConfig":
        from openvino_genai import GenerationConfig

        config = GenerationConfig()
        config.max_new_tokens = max_new_tokens
        config.stop_token_ids = set() if sampling.past_end else set(self._ends_of(sampling))
        config.ignore_eos = sampling.past_end
        config.logprobs = int(sampling.top_logprobs is not None)
        config.presence_penalty = sampling.presence_penalty
        config.frequency_penalty = sampling.frequency_penalty
        config.repetition_penalty = sampling.repetition_penalty
        if sampling.grammar and self._grammars:
            config.structured_output_config = self._grammars.open(sampling.grammar)
        config.do_sample = sampling.temperature > 0
        if config.do_sample:
            config.temperature, config.top_p = sampling.temperature, sampling.top_p
            config.top_k = sampling.top_k or _WHOLE_VOCABULARY
            config.min_p = min(sampling.min_p, _BELOW_ONE)
            # The runtime's default seed is always 0.
            config.rng_seed = secrets.randbelow(2**31) if sampling.seed is None else sampling.seed
        return config


def open_pipeline(folder: Path, properties: dict[str, str], width: int) -> OpenVinoBatches:
    """Open *folder* without an adapter; see ``open_pipelines``."""
    return open_pipelines(folder, properties, width, {})[None]


def open_pipelines(
    folder: Path, properties: dict[str, str], width: int, adapters: "Mapping[str, openvino.Tensor]"
) -> dict[str | None, OpenVinoBatches]:
    """Open *folder* once without an adapter, under None, and once with each.

    Args:
        folder: has ``openvino_model.xml``, a language model.
        properties: OpenVINO's own, such as the number of threads.
        width: most answers at once.
        adapters: their files, as ``openvino_adapters.read_adapters`` returns them.

    Raises:
        ServeError: OpenVINO GenAI is not installed, or cannot schedule this model.
    """
    try:
        import openvino_genai
    except ImportError:
        raise ServeError(
            "serving a chat model of export=openvino needs OpenVINO GenAI: pip install 'gitune[openvino]'"
        ) from None
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = CACHE_GIB
    scheduler.max_num_seqs = width
    scheduler.max_num_batched_tokens = max(PROMPT_TOKENS, width)
    scheduler.enable_prefix_caching = True
    open_one, grammars = openvino_genai.ContinuousBatchingPipeline, open_grammars(folder)
    files: dict[str | None, openvino.Tensor | None] = {None: None}
    files.update(adapters)
    opened: dict[str | None, OpenVinoBatches] = {}
    for name, adapter in files.items():
        own: dict[str, Any] = dict(properties)
        if adapter is not None:
            static = openvino_genai.AdapterConfig.Mode.MODE_STATIC
            own["adapters"] = openvino_genai.AdapterConfig(openvino_genai.Adapter(adapter), 1.0, static)
        try:
            if grammars is None:
                pipeline = open_one(str(folder), scheduler, "CPU", own)
            else:
                pipeline = open_one(str(folder), grammars.tokenizer, scheduler, "CPU", **own)
        except RuntimeError as error:
            raise ServeError(f"{folder}: OpenVINO GenAI cannot open it: {reason(error)}") from error
        opened[name] = OpenVinoBatches(pipeline, folder, width, grammars)
    return opened


def reason(error: Exception) -> str:
    """Return the last line; OpenVINO's first lines name its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
