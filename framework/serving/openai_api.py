"""OpenAI's chat API as data: the fields of a request, and the JSON of answers, chunks and errors.

Unsupported fields that would change the answer are rejected, never ignored. Fields that do not change it
(``user``, ``metadata``) are accepted. It knows neither server nor model.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from framework.build.data.tool_calls import read_tools
from framework.build.data.turns import Message, read_turn, spoken
from framework.build.engine import Sampling
from framework.core.errors import DataError

DONE = "data: [DONE]\n\n"
Body = TypeVar("Body", bound=BaseModel)


class ApiError(Exception):
    """An error with its HTTP status, in OpenAI's format."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return the headers: after how many seconds to retry, where that helps."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def error_event(error: ApiError) -> dict[str, Any]:
    """Return *error* as the event of a request that ends with it; ``read_error`` is the reverse."""
    return {"status": error.status, "error": error.body()["error"], "retry_after": error.retry_after}


def read_error(event: dict[str, Any]) -> ApiError:
    """Return the error of an ``error_event``."""
    fields = event["error"]
    return ApiError(
        event["status"],
        fields["message"],
        param=fields["param"],
        code=fields["code"],
        retry_after=event["retry_after"],
    )


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class _TextFormat(_Strict):
    type: Literal["text"]


class ChatRequest(_Strict):
    """The body of ``POST /v1/chat/completions``."""

    model: str
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
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
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    response_format: _TextFormat | None = None
    parallel_tool_calls: Literal[True] | None = None
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
        return _characters([self.messages, self.tools])

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


class ClassifyRequest(_Strict):
    """The body of ``POST /v1/classify``."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=1024)]
    model: str | None = None

    def characters(self) -> int:
        """Return the characters of the longest text."""
        return max(map(len, self.texts()))

    def texts(self) -> list[str]:
        """Return the texts as a list, even if there is only one."""
        return [self.input] if isinstance(self.input, str) else self.input


def _characters(value: Any) -> int:
    """Return the characters of every text in a JSON value.

    >>> _characters([{"role": "user", "content": "hello"}, None, 3])
    9
    """
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_characters, parts))


def read_request(kind: type[Body], raw: bytes) -> Body:
    """Read a request's body.

    Raises:
        ApiError: 400, with the first problem.
    """
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ApiError(400, f"Unrecognized request argument supplied: {where}", param=where) from None
        if not where:
            raise ApiError(400, f"The body is not a JSON object: {first['msg']}") from None
        raise ApiError(400, f"{where}: {first['msg']}", param=where) from None


def unknown_model(requested: str, served: str) -> ApiError:
    """Return the error for a model that is not served here."""
    return ApiError(
        404,
        f"The model '{requested}' does not exist; this server has '{served}'",
        param="model",
        code="model_not_found",
    )


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Return the usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@dataclass(frozen=True)
class Reply:
    """The fields that every JSON object of one answer shares."""

    model: str
    created: int
    fingerprint: str
    id: str

    @classmethod
    def new(cls, model: str, created: int, digest: str) -> "Reply":
        """Return a reply with a new id; the fingerprint identifies the release's digest."""
        fingerprint = f"fp_{digest.removeprefix('sha256:')[:12]}"
        return cls(model, created, fingerprint, f"chatcmpl-{uuid.uuid4().hex}")

    def complete(self, text: str, finish_reason: str, used: dict[str, int]) -> dict[str, Any]:
        """Return a complete ``chat.completion``."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": used}

    def chunk(self, delta: dict[str, str], finish_reason: str | None = None, **extra: Any) -> str:
        """Return a ``chat.completion.chunk`` as one server-sent event."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._head("chat.completion.chunk"), "choices": [choice], **extra})

    def usage_chunk(self, used: dict[str, int]) -> str:
        """Return the extra last chunk of ``stream_options: {include_usage: true}``."""
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": used})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def event(body: dict[str, Any]) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
