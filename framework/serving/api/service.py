"""What the routes share."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from framework.core.release import Release
from framework.serving.answers import Answers
from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.engine.model_worker import Abilities
from framework.serving.jobs.background import Background
from framework.serving.limits import Limits
from framework.serving.request_log.log_writer import LogWriter
from framework.serving.request_record import current_request
from framework.serving.telemetry.metrics import Metrics
from framework.serving.telemetry.traces import Tracing

Tell = Callable[[dict[str, Any], Caller], Awaitable[dict[str, Any]]]


@dataclass
class Service:
    """One served release."""

    release: Release
    limits: Limits
    context: int | None
    """The model's context in tokens."""
    answers: Answers
    tell: Tell
    """Asks the engine's process what needs a tokenizer and no model."""
    metrics: Metrics
    background: Background | None = None
    """Background work; None refuses it."""
    keeps_answers: bool = False
    """Whether answers are cached, so that clients are told how long they can keep theirs."""
    log: LogWriter | None = None
    """Keeps feedback; None if it is only counted."""
    can: Callable[[], Abilities | None] = lambda: None
    """What the engine can do; None until it is ready."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """The digest of each adapter that is served beside the release, by its name."""
    under_way: set[object] = field(default_factory=set)
    """The requests for answers that are being answered, one object each."""
    tracing: Tracing | None = None
    """Traces requests; None if they are not traced."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""

    def serve(self, release: Release, context: int | None, answers: Answers) -> None:
        """Answer new requests with another release."""
        self.release, self.context, self.answers = release, context, answers
        self.created = int(time.time())

    def digest(self) -> str:
        """Return what tells the answers of the release and its adapters from others'."""
        return ",".join([self.release.digest, *sorted(self.adapters.values())])

    def check_model(self, name: str) -> None:
        """Refuse a request for another model than the release itself.

        Raises:
            ApiError: 404.
        """
        if name != self.release.name:
            raise self._unknown(name, [self.release.name])

    def adapter(self, name: str) -> str | None:
        """Return the digest of the adapter that a request's model *name* means; None for the release itself.

        An adapter is named alone, or after the release's name and a colon.

        Raises:
            ApiError: 404, there is no such model.
        """
        if name == self.release.name:
            return None
        own = name.removeprefix(f"{self.release.name}:")
        digest = self.adapters.get(own)
        if digest is None:
            raise self._unknown(name, [self.release.name, *self.adapters])
        if (request := current_request()) is not None:
            request.adapter = own
        return digest

    @staticmethod
    def adapted(payloads: list[dict[str, Any]], adapter: str | None) -> list[dict[str, Any]]:
        """Return what the engine's process reads, with the digest of the adapter that answers."""
        return payloads if adapter is None else [{**payload, "adapter": adapter} for payload in payloads]

    def _unknown(self, name: str, served: Sequence[str]) -> ApiError:
        listed = ", ".join(f"'{each}'" for each in served)
        message = f"The model '{name}' does not exist; this server has {listed}"
        return ApiError(404, message, param="model", code="model_not_found")

    def check_length(self, characters: int, param: str) -> None:
        """Refuse a prompt that cannot fit, before it costs the time to tokenize it.

        Raises:
            ApiError: 400.
        """
        most = self.limits.characters(self.context)
        if characters > most:
            raise ApiError(
                400,
                f"{param} has {characters} characters, but this server reads at most {most}; "
                "shorten it, or raise serving.max_prompt_characters",
                param=param,
                code="context_length_exceeded",
            )

    def cards(self) -> list[dict[str, Any]]:
        """Return the release and its adapters as ``/v1/models`` describes them."""
        shared = {"object": "model", "created": self.created, "owned_by": "gitune"}
        adapters = [{"id": name, **shared, "parent": self.release.name} for name in self.adapters]
        return [{"id": self.release.name, **shared}, *adapters]
