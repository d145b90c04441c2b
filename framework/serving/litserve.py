"""LitServe: one process answers HTTP, another holds the model.

This module only says what can be configured and checks that litserve is there; the server itself is
``framework.serving.app``, with routes, worker, text and metrics in modules beside it.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.core.errors import ServeError
from framework.core.release import Release
from framework.serving import API_KEY, Serving


class LitServe(Serving):
    """Serves a release with LitServe.

    Language models answer ``POST /v1/chat/completions`` as OpenAI's API does, also as a stream; an
    answer is greedy unless the request names a ``temperature``, since greedy is what the release's
    metrics were measured with. Classifiers answer ``POST /v1/classify``: with one label, with all that
    apply, or with the entities in the text. All have ``/v1/models``, ``/health`` (the process runs),
    ``/ready`` (the model has answered once) and ``/metrics``; all but these three ask for the key that
    the environment variable ``GITUNE_API_KEY`` holds, where it is set.
    """

    tasks: ClassVar[tuple[str, ...]] = (
        "causal-lm",
        "seq2seq",
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
    )

    grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 20
    """Seconds that running answers may take to finish after SIGTERM; keep it below the pod's own."""

    def serve(self, model: Path, release: Release) -> None:
        """Answer requests until SIGINT or SIGTERM; leave no child process and no bound port.

        Args:
            model: the published folder, already verified against ``release.digest``.
            release: what is served; its name is the model's name in the API.

        Raises:
            ServeError: litserve is not installed, the API key is empty, the port is taken, or the model
                cannot be opened.
        """
        for package in ("litserve", "prometheus_client", "uvicorn"):
            if find_spec(package) is None:
                raise ServeError(f"serving needs the package {package}: pip install 'gitune[serve]'")
        if not os.environ.get(API_KEY, "set").strip():
            raise ServeError(
                f"{API_KEY} is empty, which would let everybody in; set it to a key, or unset it"
            )
        if release.task not in self.tasks:
            raise ServeError(
                f"release '{release.name}': task '{release.task}' is none of {', '.join(self.tasks)}"
            )
        from framework.serving.app import run

        run(self, model, release, self.grace_seconds)
