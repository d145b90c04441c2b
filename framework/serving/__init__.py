"""The base class of every serving option: how a release answers requests."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.core.component import Component
from framework.core.problem import Problem
from framework.core.release import Release
from framework.serving.outbound.address import variable_of

API_KEY = "GITUNE_API_KEY"
"""The environment variable with the API key that requests must send; unset, no key is needed."""


Renewed = Callable[[], tuple[Release, Path]]
"""Returns the release that is to be served now, and a folder of its own with the verified model, which the
server removes when another release has taken its place; raises a ``FrameworkError`` where there is none."""


class Serving(Component, ABC):
    """A server for a published model."""

    reads_images: ClassVar[bool] = False
    """Whether requests can have an image beside their text, which some tasks need."""

    host: str = "127.0.0.1"
    """Address to bind; rendered manifests set ``0.0.0.0`` inside the pod."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    """TCP port; above 1023, so that binding needs no privilege."""
    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Most requests in one batch; engines can have a lower limit, as onnxruntime-genai has 4 on CPUs."""
    batch_timeout: Annotated[float, Field(ge=0, le=10)] = 0.05
    """Seconds that a request waits for others to fill its batch, where they cannot join it later."""
    max_new_tokens: Annotated[int, Field(ge=1, le=131_072)] = 256
    """Most tokens of one answer; a request can ask for fewer."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads of the engine; 0 leaves the choice to the engine."""

    def connections(self) -> Mapping[str, str]:
        """Return the address of each other service that the server calls, by the field that names it.

        An address is a URL or the name of an environment variable that holds one.
        """
        return {}

    def variables(self) -> dict[str, str]:
        """Return the environment variables that the server reads, by the field that names each."""
        named = {field: variable_of(address) for field, address in self.connections().items()}
        return {field: variable for field, variable in named.items() if variable is not None}

    def stores(self) -> tuple[str, ...]:
        """Return the URLs of the stores that the server reads and writes while it serves."""
        return ()

    def worker(self) -> tuple[str, ...]:
        """Return the command of a worker beside the server; empty where there is none.

        It takes the release as ``--release``, the server's options as ``--config`` and its URL as ``--url``.
        """
        return ()

    def pod_problems(self) -> list[Problem]:
        """Return what keeps it from serving in a pod, which has no disk of its own that stays."""
        return []

    def beside(self) -> Mapping[str, str]:
        """Return the URLs of what pods fetch beside the model, by the option that names each."""
        return {}

    def fetch(self, model: Path) -> None:
        """Fetch what ``beside`` names, into a folder beside *model*.

        Raises:
            SourceError: it cannot be fetched, or does not match its digest.
            ServeError: it is missing, or has no digest.
        """

    @abstractmethod
    def serve(self, model: Path, release: Release) -> None:
        """Answer requests until SIGINT or SIGTERM; leave no child process and no bound port.

        Args:
            model: the published folder, already verified against ``release.digest``.
            release: the release to serve; its name is the model's name in the API.

        Raises:
            ServeError: the server cannot run, or does not answer the release's task.
        """

    def serve_renewed(self, model: Path, release: Release, renewed: Renewed) -> None:
        """Serve, and take another release while running, where the server can; else as ``serve`` does.

        Args:
            model: the published folder, already verified against ``release.digest``.
            release: the release to serve first.
            renewed: called on SIGHUP, in a thread.

        Raises:
            ServeError: the server cannot run, or does not answer the release's task.
        """
        self.serve(model, release)
