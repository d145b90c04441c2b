"""LitServe: one process answers HTTP, another runs the model.

This module holds the options and checks that litserve is installed. The server is
``framework.serving.app``, with routes, workers, text and metrics in modules beside it.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import Field

from framework.build.task import open_task
from framework.core.errors import ServeError
from framework.core.release import Release
from framework.serving import API_KEY, Serving


class LitServe(Serving):
    """Serves a release with LitServe.

    Language models answer ``POST /v1/chat/completions`` as OpenAI's API does, also as a stream. Decoding
    is greedy unless the request sets a ``temperature``, since the release's metrics were measured with
    greedy decoding. Classifiers answer ``POST /v1/classify`` with one label, with every label that
    applies, or with the entities in the text. All have ``/v1/models``, ``/health`` (the process runs),
    ``/ready`` (the model has answered once) and ``/metrics``. If the environment variable
    ``GITUNE_API_KEY`` is set, every route except the last three needs that key.
    """

    grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 20
    """Seconds that running answers have to finish after SIGTERM; keep it below the pod's own."""

    def serve(self, model: Path, release: Release) -> None:
        """Answer requests until SIGINT or SIGTERM; leave no child process and no bound port.

        Args:
            model: the published folder, already verified against ``release.digest``.
            release: the release to serve; its name is the model's name in the API.

        Raises:
            ConfigError: the release's task is unknown.
            ServeError: litserve is not installed, the API key is empty, there is no route for the
                release's task, the port is taken, or the model cannot be opened.
        """
        for package in ("litserve", "prometheus_client", "uvicorn"):
            if find_spec(package) is None:
                raise ServeError(f"serving needs the package {package}: pip install 'gitune[serve]'")
        if not os.environ.get(API_KEY, "set").strip():
            raise ServeError(
                f"{API_KEY} is empty, which would accept every request; set it to a key, or unset it"
            )
        if open_task(release.task).reads_images and not self.reads_images:
            raise ServeError(
                f"release '{release.name}': serving=litserve has no route for task '{release.task}'; "
                "use the model without a server"
            )
        from framework.serving.app import run

        run(self, model, release, self.grace_seconds)
