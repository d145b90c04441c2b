"""The server of a release: one process answers HTTP, another runs the model.

This module holds the options and checks that the packages are installed. The server is
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
from framework.serving.drift_options import DriftOptions
from framework.serving.limits import Limits
from framework.serving.observation import Observation
from framework.serving.request_log.options import RequestLog
from framework.serving.trace_options import Traces


class HttpServing(Serving):
    """Serves a release over HTTP, several requests at a time.

    Language models answer ``POST /v1/chat/completions`` as OpenAI's API does, also as a stream. Decoding
    is greedy unless the request sets a ``temperature``, since the release's metrics were measured with
    greedy decoding. Classifiers answer ``POST /v1/classify`` with one label, with every label that
    applies, or with the entities in the text. All have ``/v1/models``, ``/health`` (the process runs),
    ``/ready`` (the model has answered once) and ``/metrics``. If the environment variable
    ``GITUNE_API_KEY`` is set, every route except the last three needs that key.
    """

    grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 20
    """Seconds that accepted requests have to be answered after SIGTERM; keep it below the pod's own."""
    max_wait_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    """A request that would wait longer than this for its first token is refused with 429."""
    max_prompt_characters: Annotated[int, Field(ge=0)] = 0
    """Most characters of one request's messages, or of one text; 0 is 16 for each token of the model's
    context. A longer one is refused before it is tokenized."""

    drift: DriftOptions = DriftOptions()
    """What the newest requests are compared with, in the metrics."""
    request_log: RequestLog | None = None
    """Keeps a sample of the finished requests, and all feedback, as Parquet files; off by default. These are
    texts of users: see ``docs/serving.md`` before you turn it on."""

    traces: Traces | None = None
    """Sends a trace of each request to an OpenTelemetry collector; off by default."""

    def connects_to(self) -> tuple[str, ...]:
        """Return the collector of traces, and the logs that are not folders."""
        endpoint = None if self.traces is None else self.traces.endpoint
        log = None if self.request_log is None else self.request_log.folder
        urls = (url for url in (endpoint, log, self.drift.reference) if url is not None)
        return tuple(dict.fromkeys(url for url in urls if "://" in url and not url.startswith("file:")))

    def serve(self, model: Path, release: Release) -> None:
        """Answer requests until SIGINT or SIGTERM; leave no child process and no bound port.

        Args:
            model: the published folder, already verified against ``release.digest``.
            release: the release to serve; its name is the model's name in the API.

        Raises:
            ConfigError: the release's task is unknown.
            ServeError: a package is not installed, the API key is empty, there is no route for the
                release's task, the port is taken, or the model cannot be opened.
        """
        needed = dict.fromkeys(("prometheus_client", "starlette", "uvicorn"), "serve")
        if self.request_log is not None or self.drift.reference is not None:
            needed["pyarrow"] = "parquet"
        for package, extra in needed.items():
            if find_spec(package) is None:
                raise ServeError(f"serving needs the package {package}: pip install 'gitune[{extra}]'")
        if not os.environ.get(API_KEY, "set").strip():
            raise ServeError(
                f"{API_KEY} is empty, which would accept every request; set it to a key, or unset it"
            )
        if open_task(release.task).reads_images and not self.reads_images:
            raise ServeError(
                f"release '{release.name}': serving=http has no route for task '{release.task}'; "
                "use the model without a server"
            )
        from framework.serving.app import run

        limits = Limits(
            max_new_tokens=self.max_new_tokens,
            max_prompt_characters=self.max_prompt_characters,
            max_wait_seconds=self.max_wait_seconds,
            grace_seconds=self.grace_seconds,
        )
        run(self, limits, model, release, Observation(self.drift, self.request_log, self.traces))
