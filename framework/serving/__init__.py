"""The base of every serving option: how a release answers requests."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.core.component import Component
from framework.core.release import Release

API_KEY = "GITUNE_API_KEY"
"""The environment variable with the key that requests must bring; without it nobody is asked for one."""


class Serving(Component, ABC):
    """A server for a published model."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks that it answers; empty for all."""

    host: str = "127.0.0.1"
    """Address to bind; the rendered manifests set ``0.0.0.0`` inside the pod."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    """TCP port; above 1023 so that no privilege is needed."""
    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Most requests that are answered together (classifiers)."""
    batch_timeout: Annotated[float, Field(ge=0, le=10)] = 0.05
    """Seconds that a request waits for others to join its batch."""
    max_new_tokens: Annotated[int, Field(ge=1, le=131_072)] = 256
    """Most tokens that one answer may have; a request may ask for fewer."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads of the engine; 0 leaves the engine's own choice."""

    @abstractmethod
    def serve(self, model: Path, release: Release) -> None:
        """Answer requests until SIGINT or SIGTERM; leave no child process and no bound port.

        Args:
            model: the published folder, already verified against ``release.digest``.
            release: what is served; its name is the model's name in the API.
        """
