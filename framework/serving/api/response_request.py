"""The body of ``POST /v1/responses``."""

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from framework.serving.api.body import StrictBody, read_request
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api.sampling_request import HAS_SCHEMA, SMALLEST, ClientNotes, Unsupported
from framework.serving.api.turn_schema import (
    ANY_TEXT,
    ARGUMENTS,
    CALL_ID,
    CALLABLE,
    SPOKEN,
    TEXT,
    no_calls_in,
)
from framework.serving.api_error import ApiError


class _Part(StrictBody):
    type: Literal["input_text", "output_text"]
    text: Annotated[str, TEXT]
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class _MessageItem(StrictBody):
    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[str, TEXT] | list[_Part]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class _CallItem(StrictBody):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: Annotated[str, ARGUMENTS]
    id: str | None = None
    status: str | None = None


class _OutputItem(StrictBody):
    type: Literal["function_call_output"]
    call_id: Annotated[str, CALL_ID]
    output: Annotated[str, TEXT] | list[_Part]
    id: str | None = None
    status: str | None = None


Item = _MessageItem | _CallItem | _OutputItem


class _Format(StrictBody):
    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"properties": {"type": {"enum": ["text", "json_object"]}}}, HAS_SCHEMA]}
    )

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None
    description: str | None = None


class _Text(StrictBody):
    format: _Format | None = None
    verbosity: Literal["medium"] | None = None


class _Tool(StrictBody):
    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Named(StrictBody):
    type: Literal["function"]
    name: str


class _AllowedTools(StrictBody):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[_Named]


class _StreamOptions(StrictBody):
    include_obfuscation: bool | None = None


_FETCHED: JsonDict = {
    "anyOf": [
        {"properties": {"background": {"enum": [None, False]}}},
        {"properties": {"store": {"enum": [None, True]}, "stream": {"enum": [None, False]}}},
    ]
}
"""A background response is kept until it is fetched, and no stream."""


class ResponseRequest(ClientNotes):
    """Every field of OpenAI's API: done, accepted without a value, or refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [SPOKEN, CALLABLE, no_calls_in(text={"properties": {"format": ANY_TEXT}}), _FETCHED]
        }
    )

    model: str
    input: Annotated[str, TEXT] | Annotated[list[Item], Field(min_length=1)]
    instructions: Annotated[str, TEXT] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=SMALLEST, le=1)] | None = None
    text: _Text | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _Named | _AllowedTools | None = None
    parallel_tool_calls: bool | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    # These need ``serving.jobs``.
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    # Accepted only with their defaults.
    truncation: Literal["disabled"] | None = None
    service_tier: Literal["auto", "default"] | None = None
    reasoning: Unsupported = None
    conversation: Unsupported = None
    prompt: Unsupported = None
    max_tool_calls: Unsupported = None
    context_management: Unsupported = None
    moderation: Unsupported = None
    access_programs: Unsupported = None
    image: Unsupported = None

    def check_kept(self, *, keeps: bool) -> None:
        """Refuse what a server cannot do about keeping the response.

        Args:
            keeps: whether the server keeps responses.

        Raises:
            ApiError: 400, it keeps none, or the fields contradict each other.
        """
        for name in ("background", "store", "previous_response_id"):
            if getattr(self, name) not in (None, False) and not keeps:
                advice = "this server keeps no responses; set serving.jobs, or leave it out"
                raise ApiError(400, f"{name}: {advice}", param=name)
        if self.background and self.store is False:
            raise ApiError(400, "store: a background response is kept until it is fetched", param="store")
        if self.background and self.stream:
            advice = "a background response is no stream; fetch it by GET /v1/responses/{id}"
            raise ApiError(400, f"stream: {advice}", param="stream")

    def chat(self) -> ChatRequest:
        """Return the same request to the chat endpoint.

        Raises:
            ApiError: 400, a part is broken.
        """
        logprobs = bool(self.include)
        body = {
            "model": self.model,
            "messages": self._messages(),
            "tools": [
                {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
                for tool in self.tools or ()
            ],
            "tool_choice": self._choice(),
            "parallel_tool_calls": self.parallel_tool_calls,
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "response_format": self._format(),
            "logprobs": logprobs,
            "top_logprobs": self.top_logprobs if logprobs else None,
        }
        return read_request(ChatRequest, json.dumps(body).encode())

    def _messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if self.instructions:
            messages.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return [*messages, {"role": "user", "content": self.input}]
        for item in self.input:
            if isinstance(item, _MessageItem):
                messages.append({"role": item.role, "content": _joined(item.content)})
            elif isinstance(item, _OutputItem):
                content = _joined(item.output)
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": content})
            else:
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": None})
                messages[-1].setdefault("tool_calls", []).append(call)
        return messages

    def _choice(self) -> Any:
        if isinstance(self.tool_choice, _Named):
            return {"type": "function", "function": {"name": self.tool_choice.name}}
        if isinstance(self.tool_choice, _AllowedTools):
            tools = [{"name": tool.name} for tool in self.tool_choice.tools]
            return {"type": "allowed_tools", "allowed_tools": {"mode": self.tool_choice.mode, "tools": tools}}
        return self.tool_choice

    def _format(self) -> Any:
        chosen = self.text.format if self.text else None
        if chosen is None or chosen.type == "text":
            return None
        if chosen.type == "json_object":
            return {"type": "json_object"}
        schema = {"name": chosen.name or "answer", "schema": chosen.schema_}
        return {"type": "json_schema", "json_schema": schema}

    def shown(self) -> dict[str, Any]:
        """Return the fields that the response repeats."""
        chosen = self.text.format if self.text else None
        choice = self.tool_choice
        return {
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "previous_response_id": self.previous_response_id,
            "store": bool(self.store),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "tool_choice": (choice if isinstance(choice, str) else choice.model_dump()) if choice else "auto",
            "tools": [{"strict": None, **tool.model_dump()} for tool in self.tools or ()],
            "text": {
                "format": chosen.model_dump(by_alias=True, exclude_none=True) if chosen else {"type": "text"}
            },
        }


def _joined(content: str | list[_Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
