"""Read what a client asks of a language model as token ids and a sampling. It does not touch the model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from framework.build.engine import Sampling
from framework.build.model.template_checks import refuse_lost_turns
from framework.core.errors import DataError
from framework.serving.api_error import ApiError
from framework.serving.engine.tokenization import prompt_ids
from framework.serving.engine.told import check_ids
from framework.serving.engine.tool_format import ToolFormat, derive

_NAMES = {"past_end": "ignore_eos", "top_logprobs": "logprobs", "grammar": "response_format"}
"""Fields of ``Sampling`` that the API calls otherwise."""


@dataclass(frozen=True)
class Tools:
    """The functions that an answer may call."""

    form: ToolFormat
    names: frozenset[str]
    parallel: bool
    """Whether it may have several calls."""


@dataclass(frozen=True)
class Prompt:
    """A request that can be generated for."""

    ids: list[int]
    limit: int
    """Most tokens of the answer."""
    sampling: Sampling
    stops: tuple[str, ...] = ()
    tools: Tools | None = None
    """None: calls are not looked for."""
    echo: str | None = None
    """The prompt's text, if the client wants to have it."""
    adapter: str | None = None
    """The digest of the adapter that answers; None for the release itself."""


class PromptReader:
    """Reads the payloads of ``framework.serving.answers.Generation``."""

    def __init__(
        self, tokenizer: Any, context: int | None, engine: str, refuses: Callable[[Sampling], str | None]
    ) -> None:
        """Read for one model.

        Args:
            tokenizer: the model's.
            context: most tokens of prompt and answer; None if there is no limit.
            engine: the release's engine, for messages.
            refuses: the engine's ``Batches.refuses``.
        """
        self.tokenizer, self.context = tokenizer, context
        self._engine, self._refuses = engine, refuses

    @cached_property
    def _form(self) -> ToolFormat | None:
        return derive(self.tokenizer)

    def read(self, payload: dict[str, Any]) -> Prompt:
        """Return a conversation or a text as a prompt.

        Raises:
            ApiError: the chat template rejects or ignores a part, the engine cannot do a field, or the prompt
                does not fit.
        """
        sampling = Sampling.of(payload["sampling"])
        tools: Tools | None = None
        if "prompt" in payload:
            param, ids = "prompt", self._text_ids(payload["prompt"])
        else:
            param, ids = "messages", self.conversation_ids(payload["messages"], payload["tools"])
            sampling, tools = self._with_tools(sampling, payload)
        self._check_sampling(sampling, payload)
        limit = self._limit(len(ids), payload["limit"], param)
        echo = self.text(ids) if payload.get("echo") else None
        return Prompt(ids, limit, sampling, tuple(payload["stops"]), tools, echo, payload.get("adapter"))

    def text(self, ids: list[int]) -> str:
        """Return the text of *ids*, without special tokens."""
        decode = self.tokenizer.decode
        return str(decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def conversation_ids(self, messages: list[Any], tools: list[dict[str, Any]]) -> list[int]:
        """Return the prompt's ids, if the template writes every turn and the tools, as training requires.

        Raises:
            ApiError: the chat template rejects or ignores a part.
        """
        try:
            ids = prompt_ids(self.tokenizer, messages, tools)
            if tools and ids == prompt_ids(self.tokenizer, messages):
                raise ApiError(400, "This model's chat template ignores tools", param="tools")
            refuse_lost_turns(self.tokenizer, messages, tools or None)
        except (ValueError, DataError) as error:
            raise ApiError(400, str(error), param="messages") from None
        return ids

    def _text_ids(self, prompt: str | list[int]) -> list[int]:
        """Return *prompt* as ids: a text gets the special tokens that a document has in training."""
        ids = list(self.tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else prompt
        check_ids(self.tokenizer, ids, "prompt")
        if not ids:
            raise ApiError(400, "prompt has no tokens", param="prompt")
        return ids

    def _with_tools(self, sampling: Sampling, payload: dict[str, Any]) -> tuple[Sampling, Tools | None]:
        """Return the sampling, with a grammar if a call is required, and the tools to look for."""
        wanted = payload.get("calls")
        if not wanted or not payload["tools"]:
            return sampling, None
        functions = [tool for tool in payload["tools"] if tool["function"]["name"] in wanted["names"]]
        if wanted["required"]:
            if self._form is None:
                raise ApiError(
                    400,
                    "This model's chat template writes calls in a form that is not known; set tool_choice to "
                    "'auto' and read the call in the text",
                    param="tool_choice",
                )
            sampling = replace(sampling, grammar=self._form.grammar(functions))
        if self._form is None:
            return sampling, None
        return sampling, Tools(self._form, frozenset(wanted["names"]), wanted["parallel"])

    def _check_sampling(self, sampling: Sampling, payload: dict[str, Any]) -> None:
        check_ids(self.tokenizer, [token for token, _ in sampling.logit_bias], "logit_bias")
        field = self._refuses(sampling)
        if field is None:
            return
        required = (payload.get("calls") or {}).get("required")
        name = "tool_choice" if field == "grammar" and required else _NAMES.get(field, field)
        raise ApiError(
            400,
            f"This release's engine ({self._engine}) cannot do {name} as asked; leave it out, or see "
            "docs/serving.md for what each export does",
            param=name,
        )

    def _limit(self, length: int, asked: tuple[int, bool], param: str) -> int:
        """Return the most tokens of an answer to a prompt of *length* tokens."""
        limit, requested = asked
        if self.context is None:
            return limit
        left, needed = self.context - length, limit if requested else 1
        if needed > left:
            raise ApiError(
                400,
                f"This model's context is {self.context} tokens, but the {param} have {length} "
                f"and the answer needs {needed}; shorten them or set a lower max_tokens",
                param=param,
                code="context_length_exceeded",
            )
        return min(limit, left)
