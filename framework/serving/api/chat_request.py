"""The body of ``POST /v1/chat/completions``."""

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from framework.build.data.turns import Message, read_turn, spoken
from framework.build.engine import Sampling
from framework.core.errors import DataError
from framework.serving.api.body import count_characters
from framework.serving.api.sampling_request import (
    ClientNotes,
    ResponseFormat,
    SamplingRequest,
    Unsupported,
    checked_limit,
)
from framework.serving.api.tool_request import Calls, ToolChoice, read_choice
from framework.serving.api.turn_schema import ANY_TEXT, CALLABLE, TOOLS, TURNS, no_calls_in
from framework.serving.api_error import ApiError

_SCORED: JsonDict = {
    "anyOf": [
        {"properties": {"top_logprobs": {"enum": [None, 0]}}},
        {"required": ["logprobs"], "properties": {"logprobs": {"const": True}}},
    ]
}
"""``top_logprobs`` needs ``logprobs``."""


class ChatRequest(SamplingRequest, ClientNotes):
    """Every field of OpenAI's API, and some of vLLM's: done, accepted without a value, or refused."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [_SCORED, CALLABLE, no_calls_in(response_format=ANY_TEXT)]}
    )

    messages: Annotated[list[dict[str, Any]], Field(min_length=1), TURNS]
    tools: Annotated[list[dict[str, Any]], TOOLS] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    # Accepted only with their defaults.
    modalities: list[Literal["text"]] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    service_tier: Literal["auto", "default"] | None = None
    function_call: Literal["none", "auto"] | None = None
    functions: Unsupported = None
    audio: Unsupported = None
    prediction: Unsupported = None
    web_search_options: Unsupported = None
    moderation: Unsupported = None
    store: Unsupported = None

    def conversation(self) -> tuple[list[Message], list[dict[str, Any]], Calls | None]:
        """Return the messages and tools for a chat template, read as a training row's are, and the calls.

        Without a choice to call tools, the template gets none.

        Raises:
            ApiError: 400, a message or a tool is broken, or has a key that is not supported.
        """
        tools, calls = read_choice(self.tools, self.tool_choice, self.parallel_tool_calls is not False)
        return read_messages(self.messages, "messages"), tools, calls

    def characters(self) -> int:
        """Return the characters of the messages and the tools."""
        return count_characters([self.messages, self.tools])

    def limit(self, most: int) -> tuple[int, bool]:
        """Return the most new tokens, and whether the client set that limit; see the base class."""
        if self.max_completion_tokens is not None:
            return checked_limit("max_completion_tokens", self.max_completion_tokens, most)
        return super().limit(most)

    def sampling(self) -> Sampling:
        """Return the sampling, with the grammar of ``response_format``.

        Raises:
            ApiError: 400, fields contradict each other, or a schema is broken.
        """
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
        schema = self.response_format.schema_text() if self.response_format else None
        if schema and self.tools and self.tool_choice != "none":
            raise ApiError(
                400,
                "response_format would forbid every call; leave out tools, or set tool_choice to 'none'",
                param="response_format",
            )
        return replace(
            super().sampling(),
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            grammar=(("schema", schema),) if schema else (),
        )

    def payloads(self) -> list[dict[str, Any]]:
        """Return what the engine's process reads, for each answer.

        Raises:
            ApiError: 400, a part is broken.
        """
        messages, tools, calls = self.conversation()
        shared = {
            "messages": messages,
            "tools": tools,
            "calls": calls.payload() if calls else None,
            "stops": self.stops(),
        }
        return [{**shared, "sampling": asdict(sampling)} for sampling in self.samplings()]


def read_messages(raw: list[dict[str, Any]], name: str) -> list[Message]:
    """Return turns for a chat template, read as a training row's are.

    Raises:
        ApiError: 400, a turn is broken, or has a key that is not supported.
    """
    messages = []
    for index, turn in enumerate(raw):
        param, unused = f"{name}.{index}", set[str]()
        if isinstance(turn.get("content"), dict):  # in a row an empty one is a missing text
            raise ApiError(400, f"{param}.content must be text, not an object", param=param)
        if turn.get("role") in ("assistant", "function") and turn.get("content") is None:
            turn = {**turn, "content": None if turn.get("tool_calls") or turn.get("function_call") else ""}
        try:
            messages.append(read_turn(turn, param, param, unused, blank=True))
        except DataError as error:
            raise ApiError(400, str(error), param=param) from None
        for key in sorted(unused):
            raise ApiError(400, f"Unrecognized request argument supplied: {key}", param=key)
    if not (messages := spoken(messages)):
        raise ApiError(400, f"{name} has only blank system prompts", param=name)
    return messages
