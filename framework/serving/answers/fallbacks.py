"""Who can answer in place of the release: a fixed text, or a model elsewhere."""

import hashlib
import os
from dataclasses import asdict
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from framework.build.engine import Sampling
from framework.core.errors import ServeError
from framework.serving.answers import Event, Generation
from framework.serving.answers.answer_use import FALLBACK
from framework.serving.answers.fallback_answers import Fallback, Unanswered
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.outbound.address import resolve
from framework.serving.outbound.destination import Destination, Unreachable
from framework.serving.telemetry.cache_metrics import OutboundMetrics

_TURN_KEYS = ("role", "content", "name", "tool_call_id")
_SENT = {"temperature", "top_p", "seed"}
"""Fields of a sampling that are sent to the model elsewhere."""


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: str


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Reply(BaseModel):
    """What is read of a ``chat.completion``."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage = _Usage()


class _Failed(Exception):
    """The service elsewhere failed, or is overloaded."""


def open_fallback(options: FallbackOptions, metrics: OutboundMetrics) -> Fallback:
    """Return the fallback that *options* name.

    Raises:
        ServeError: a package or an environment variable is missing.
    """
    return FixedText(options.text) if options.text is not None else RemoteModel(options, metrics)


class FixedText:
    """Answers every request with one text."""

    def __init__(self, text: str) -> None:
        self.model = "fallback"
        self._text = text
        self.digest = _digest(text)

    async def answer(self, asked: Generation) -> list[Event]:
        """Return the text, which has no tokens.

        Raises:
            Unanswered: the request wants tools or a format.
        """
        _check(asked)
        last = {"finish_reason": "stop", "completion_tokens": 0}
        return [{"prompt_tokens": 0}, {"text": self._text, "tokens": 0}, last]

    async def close(self) -> None:
        """Do nothing."""


class RemoteModel:
    """Asks a model at an OpenAI-compatible endpoint, for whole answers."""

    def __init__(self, options: FallbackOptions, metrics: OutboundMetrics) -> None:
        if find_spec("httpx") is None:
            raise ServeError("serving.fallback.url needs the package httpx: pip install 'gitune[serve]'")
        import httpx

        assert options.url is not None
        assert options.model is not None
        url = resolve(options.url, "serving.fallback.url").rstrip("/")
        self.model = options.model
        self.digest = _digest(f"{url} {options.model}")
        headers = {FALLBACK: "1"}  # a server that is its own fallback must not ask itself forever
        if options.key is not None:
            if not (key := os.environ.get(options.key, "").strip()):
                raise ServeError(f"serving.fallback.key: the environment variable {options.key} is not set")
            headers["Authorization"] = f"Bearer {key}"
        self._url = f"{url}/chat/completions"
        self._client = httpx.AsyncClient(headers=headers, timeout=options.seconds)
        failures = (_Failed, httpx.TransportError)
        self._service = Destination("fallback", failures, observe=metrics.observe)
        metrics.watch(self._service.name, lambda: self._service.breaker.is_open)

    async def answer(self, asked: Generation) -> list[Event]:
        """Return its answer to the conversation.

        Raises:
            Unanswered: it cannot be asked for this, refuses, or does not answer.
        """
        _check(asked)
        sampling = {key: asked.payload["sampling"][key] for key in sorted(_SENT)}
        messages = [
            {key: turn[key] for key in _TURN_KEYS if key in turn} for turn in asked.payload["messages"]
        ]
        body = {"model": self.model, "messages": messages, **sampling}
        if asked.limit_is_own:  # else its own, which may be lower
            body["max_tokens"] = asked.limit
        if stops := list(asked.payload["stops"]):
            body["stop"] = stops
        try:
            reply = await self._service.call(lambda: self._ask(body))
        except Unreachable as error:
            raise Unanswered(str(error)) from None
        return _events(reply)

    async def _ask(self, body: dict[str, Any]) -> _Reply:
        response = await self._client.post(self._url, json=body)
        if response.status_code == 429 or response.status_code >= 500:
            raise _Failed(f"status {response.status_code}")
        if response.status_code != 200:
            raise Unanswered(f"it refuses the request with status {response.status_code}")
        try:
            return _Reply.model_validate_json(response.content)
        except ValidationError:
            raise _Failed("its answer is not a text with a finish_reason") from None

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()


def _check(asked: Generation) -> None:
    """Check that a fallback can do what is asked.

    Raises:
        Unanswered: the request has tools, a format, or a sampling that only the release's engine knows.
    """
    payload = asked.payload
    if not payload.get("messages"):
        raise Unanswered("it answers conversations only")
    known = {"messages", "stops", "sampling"}
    others = [key for key, value in payload.items() if key not in known and value]
    others += ["tool_calls"] if any(turn.get("tool_calls") for turn in payload["messages"]) else []
    default = asdict(Sampling())
    others += [k for k, v in payload["sampling"].items() if k not in _SENT and v != default.get(k)]
    if others:
        raise Unanswered(f"it does not know {', '.join(others)}")


def _events(reply: _Reply) -> list[Event]:
    choice, used = reply.choices[0], reply.usage
    last = {"finish_reason": choice.finish_reason, "completion_tokens": used.completion_tokens}
    text = {"text": choice.message.content, "tokens": used.completion_tokens}
    return [{"prompt_tokens": used.prompt_tokens}, text, last]


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
