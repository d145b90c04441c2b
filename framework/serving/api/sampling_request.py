"""The fields that every generating endpoint has, and the types of those that are refused."""

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from framework.build.engine import Sampling
from framework.serving.api.body import StrictBody
from framework.serving.api_error import ApiError

MOST_CHOICES = 16
"""Most answers to one request."""
SMALLEST = 1e-6
"""Smallest value of what must be above 0: runtimes round to 32 bits."""
MOST_SCHEMA = 16_384
"""Most characters of a JSON schema: the engine compiles it between two tokens."""


def _nothing(value: Any) -> None:
    if not (value is None or value is False or value in ([], {}, "")):  # 0 == False
        raise ValueError("this server does not support it; leave it out")


Unsupported = Annotated[None, BeforeValidator(_nothing), WithJsonSchema({"enum": [None, False, [], {}, ""]})]
"""A field of OpenAI's API that only null, false or an empty value may be given for."""
Bias = Annotated[
    dict[str, Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=1024, json_schema_extra={"propertyNames": {"pattern": "^[0-9]{1,9}$"}}),
]

HAS_SCHEMA: JsonDict = {"required": ["schema"], "properties": {"schema": {"type": "object"}}}


class ClientNotes(StrictBody):
    """Fields of OpenAI's newer APIs that do not change the answer."""

    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None


class StreamOptions(StrictBody):
    """How a stream ends."""

    include_usage: bool | None = None
    """Send the usage in a last chunk."""
    continuous_usage_stats: bool | None = None
    """With ``include_usage``, send the usage so far in every chunk, as vLLM does."""
    include_obfuscation: bool | None = None


class SamplingRequest(StrictBody):
    """The fields of OpenAI's and vLLM's APIs that say how an answer is drawn."""

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=SMALLEST, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Bias | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # vLLM's.
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=SMALLEST, le=10)] | None = None
    ignore_eos: bool | None = None
    # Does not change the answer.
    user: str | None = None

    def limit(self, most: int) -> tuple[int, bool]:
        """Return the most new tokens, and whether the client set that limit.

        Raises:
            ApiError: the client's limit is above *most*.
        """
        return checked_limit("max_tokens", self.max_tokens, most)

    def sampling(self) -> Sampling:
        """Return the sampling; greedy unless the request sets a temperature above 0.

        Raises:
            ApiError: 400, ``logit_bias`` names no token.
        """
        return Sampling(
            temperature=self.temperature or 0.0,
            top_p=self.top_p or 1.0,
            seed=self.seed,
            past_end=bool(self.ignore_eos),
            top_k=max(self.top_k or 0, 0),
            min_p=self.min_p or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias=self._biases(),
        )

    def samplings(self) -> list[Sampling]:
        """Return one sampling for each answer; a seed gives each its own."""
        first = self.sampling()
        if first.seed is None:
            return [first] * (self.n or 1)
        return [replace(first, seed=(first.seed + index) % 2**31) for index in range(self.n or 1)]

    def _biases(self) -> tuple[tuple[int, float], ...]:
        biases = []
        for token, bias in sorted((self.logit_bias or {}).items()):
            if not (token.isascii() and token.isdigit()) or len(token) > 9:
                raise ApiError(400, f"logit_bias: {token!r} is no token id", param="logit_bias")
            if bias:
                biases.append((int(token), bias))
        return tuple(biases)

    def stops(self) -> tuple[str, ...]:
        """Return the stop sequences."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in stops if text)

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def with_running_usage(self) -> bool:
        """Whether every chunk of a stream has the usage so far."""
        return bool(self.with_usage and self.stream_options and self.stream_options.continuous_usage_stats)


def checked_limit(name: str, limit: int | None, most: int) -> tuple[int, bool]:
    """Return the most new tokens, and whether the client set that limit.

    Raises:
        ApiError: the client's limit is above *most*.
    """
    if limit is not None and limit > most:
        raise ApiError(400, f"{name} is {limit}, but this server's limit is {most}", param=name)
    return (most, False) if limit is None else (limit, True)


class _JsonSchema(StrictBody):
    name: str
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


_NAMED: JsonDict = {"type": "object", **HAS_SCHEMA}


class ResponseFormat(StrictBody):
    """What the text of an answer must be."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"type": {"enum": [None, "text", "json_object"]}}},
                {"required": ["json_schema"], "properties": {"json_schema": _NAMED}},
            ]
        }
    )

    type: Literal["text", "json_object", "json_schema"] | None = None
    json_schema: _JsonSchema | None = None

    def schema_text(self) -> str | None:
        """Return the JSON schema of the text; None if it may be any text.

        Raises:
            ApiError: 400, the schema is missing or too long.
        """
        if self.type == "json_schema" and (self.json_schema is None or self.json_schema.schema_ is None):
            raise ApiError(400, "response_format.json_schema.schema is missing", param="response_format")
        named = self.json_schema.schema_ if self.json_schema and self.type == "json_schema" else None
        return schema_text(named, "response_format") if self.type in ("json_object", "json_schema") else None


def schema_text(schema: dict[str, Any] | None, param: str) -> str:
    """Return a schema as JSON; None is that of any object.

    Raises:
        ApiError: 400, it is too long.
    """
    text = json.dumps(schema or {"type": "object"}, ensure_ascii=False)
    if len(text) > MOST_SCHEMA:
        raise ApiError(400, f"{param}: a schema has at most {MOST_SCHEMA} characters", param=param)
    return text
