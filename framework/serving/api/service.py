"""What the routes share."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from framework.core.release import Release
from framework.serving.answers import Answers
from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.jobs.background import Background
from framework.serving.limits import Limits
from framework.serving.telemetry.metrics import Metrics

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
    created: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""

    def check_model(self, name: str) -> None:
        """Refuse a request for another model.

        Raises:
            ApiError: 404.
        """
        if name != self.release.name:
            raise ApiError(
                404,
                f"The model '{name}' does not exist; this server has '{self.release.name}'",
                param="model",
                code="model_not_found",
            )

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

    def card(self) -> dict[str, Any]:
        """Return the model as ``/v1/models`` describes it."""
        return {"id": self.release.name, "object": "model", "created": self.created, "owned_by": "gitune"}
