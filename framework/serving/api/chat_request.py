"""The body of ``POST /v1/chat/completions``.

Fields that do not change the answer (``user``, ``metadata``) are accepted.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from framework.build.data.tool_calls import read_tools
from framework.build.data.turns import Message, read_turn, spoken
from framework.build.engine import Sampling
from framework.core.errors import DataError
from framework.serving.api.body import OnlyFalse, OnlyTrue, StrictBody, count_characters
from framework.serving.api.turn_schema import TURNS
from framework.serving.api_error import ApiError


class _StreamOptions(StrictBody):
    include_usage: bool = False
    include_obfuscation: bool = False


class _TextFormat(StrictBody):
    type: Literal["text"]


class ChatRequest(StrictBody):
    """The body of ``POST /v1/chat/completions``."""

    model: str
    messages: Annotated[list[dict[str, Any]], Field(min_length=1), TURNS]
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    # Accepted only with their defaults.
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    logprobs: OnlyFalse | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    response_format: _TextFormat | None = None
    parallel_tool_calls: OnlyTrue | None = None
    # These do not change the answer.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def conversation(self) -> tuple[list[Message], list[dict[str, Any]]]:
        """Return the messages and tools for a chat template, read as a training row's are.

        Without a choice to call tools, the template gets none.

        Raises:
            ApiError: 400, a message or a tool is broken, or has a key that is not supported.
        """
        messages = []
        for index, raw in enumerate(self.messages):
            param, unused = f"messages.{index}", set[str]()
            if isinstance(raw.get("content"), dict):  # in a row an empty one is a missing text
                raise ApiError(400, f"{param}.content must be text, not an object", param=param)
            try:
                messages.append(read_turn(raw, param, param, unused, blank=True))
            except DataError as error:
                raise ApiError(400, str(error), param=param) from None
            for key in sorted(unused):
                raise ApiError(400, f"Unrecognized request argument supplied: {key}", param=key)
        if not (messages := spoken(messages)):
            raise ApiError(400, "messages has only blank system prompts", param="messages")
        if not self.tools or self.tool_choice == "none":
            return messages, []
        try:
            return messages, read_tools(self.tools, "tools")
        except DataError as error:
            raise ApiError(400, str(error), param="tools") from None

    def characters(self) -> int:
        """Return the characters of the messages and the tools."""
        return count_characters([self.messages, self.tools])

    def limit(self, most: int) -> tuple[int, bool]:
        """Return the most new tokens, and whether the client set that limit.

        Raises:
            ApiError: the client's limit is above *most*.
        """
        name = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        limit = getattr(self, name)
        if limit is not None and limit > most:
            raise ApiError(400, f"{name} is {limit}, but this server's limit is {most}", param=name)
        return (most, False) if limit is None else (limit, True)

    def sampling(self) -> Sampling:
        """Return the sampling; greedy unless the request sets a temperature above 0."""
        return Sampling(self.temperature or 0.0, self.top_p or 1.0, self.seed)

    def stops(self) -> tuple[str, ...]:
        """Return the stop sequences."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in stops if text)
