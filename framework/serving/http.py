"""The server of a release: one process answers HTTP, another runs the model.

This module holds the options and checks that the packages are installed. The server is
``framework.serving.app``, with routes, workers, text and metrics in modules beside it.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from framework.build.task import open_task
from framework.core.errors import ServeError
from framework.core.problem import Problem
from framework.core.release import Release
from framework.serving import API_KEY, Renewed, Serving
from framework.serving.adapters import Adapter, Name, fetch_adapters
from framework.serving.answers.cache_options import CacheOptions
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.drift_options import DriftOptions
from framework.serving.features import Features
from framework.serving.jobs.settings import WEBHOOK_SECRET, Jobs
from framework.serving.limits import Limits
from framework.serving.outbound.address import host_and_port, variable_of
from framework.serving.request_log.options import RequestLog
from framework.serving.trace_options import ENDPOINT, Traces


class HttpServing(Serving):
    """Serves a release over HTTP, several requests at a time.

    Language models answer ``POST /v1/chat/completions`` as OpenAI's API does, also as a stream. Decoding
    is greedy unless the request sets a ``temperature``, since the release's metrics were measured with
    greedy decoding. Classifiers answer ``POST /v1/classify`` with one label, with every label that
    applies, or with the entities in the text. Text-embedding models answer ``POST /v1/embeddings`` and
    ``POST /v1/rerank``. All have ``/v1/models``, ``/v1/release``, ``/v1/feedback``,
    ``/openapi.json``, ``/health`` (the model's process runs, or is being started), ``/ready`` (the model has
    answered once) and ``/metrics``, and the pages ``/`` and ``/docs``. If the environment variable
    ``GITUNE_API_KEY`` or ``keys`` is set, every route except the last five needs a key.
    """

    grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 20
    """Seconds that accepted requests have to be answered after SIGTERM; keep it below the pod's own."""
    max_wait_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    """A request that would wait longer than this for its first token is refused with 429."""
    max_prompt_characters: Annotated[int, Field(ge=0)] = 0
    """Most characters of one request's messages, or of one text; 0 is 16 for each token of the model's
    context. A longer one is refused before it is tokenized."""
    engine_timeout: Annotated[float, Field(gt=0, le=86_400)] = 60
    """Seconds after which the model's process is replaced if it neither computes nor answers. One that
    computes has longer, by the time that a full batch of the longest prompts takes."""
    queue_timeout: Annotated[float, Field(gt=0, le=86_400)] = 180
    """Seconds after which an accepted request whose answer has not begun ends in 503; keep it above
    ``engine_timeout``, so that requests wait for the new process."""

    access_log: Literal["none", "json"] = "none"
    """``json`` writes one line to standard error for each request, without texts."""
    page: bool = True
    """Whether ``/`` is a page to try the model, and ``/docs`` one about its API."""

    jobs: Jobs | None = None
    """Background work, for ``background: true`` of ``/v1/responses`` and for ``/v1/jobs``; null has none."""
    receive_seconds: Annotated[float, Field(gt=0, le=3600)] = 20
    """Seconds in which a client must have sent its whole request; a slower one gets 408."""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 5
    """Seconds that a connection stays open for a next request."""
    max_connections: Annotated[int, Field(ge=1, le=60_000)] = 1000
    """Most open connections; on one more, requests other than probes get 429."""
    keys: str | None = None
    """The YAML or JSON file with the hashes of API keys, their limits and priorities. It is read when it
    changes, too. The key in ``GITUNE_API_KEY`` is accepted beside them, without limits; without both, no key
    is needed. In pods it comes from ``deployment.keys_secret``."""
    cache: CacheOptions | None = None
    """Keeps answers to deterministic requests; None computes every answer."""
    fallback: FallbackOptions | None = None
    """Who answers a conversation that is shed, or whose engine fails; None answers with the error."""

    drift: DriftOptions = DriftOptions()
    """What the newest requests are compared with, in the metrics."""
    request_log: RequestLog | None = None
    """Keeps a sample of the finished requests, and all feedback, as Parquet files; off by default. These are
    texts of users: see ``docs/serving-telemetry.md`` before you turn it on."""
    adapters: Annotated[dict[Name, str], Field(default_factory=dict)]
    """LoRA adapters of the release that are served beside it, by the name that requests have as ``model``: a
    local folder, or the URL of a published one, which ends in its digest. Needs ``export=openvino`` or
    ``transformers``."""

    def connections(self) -> Mapping[str, str]:
        """Return the addresses of the services that it calls; see the base class."""
        redis = None if self.cache is None else self.cache.redis
        model = None if self.fallback is None else self.fallback.url
        collector = None if self.traces is None else self.traces.endpoint or ENDPOINT
        named = {
            "serving.cache.redis": redis,
            "serving.fallback.url": model,
            "serving.traces.endpoint": collector,
        }
        jobs = {} if self.jobs is None else self.jobs.connections()
        return {field: address for field, address in named.items() if address is not None} | jobs

    def variables(self) -> dict[str, str]:
        """Return the environment variables that it reads; see the base class."""
        key = None if self.fallback is None else self.fallback.key
        named = {} if key is None else {"serving.fallback.key": key}
        if self.jobs is not None and self.jobs.webhook_hosts:
            named["serving.jobs.webhook_hosts"] = WEBHOOK_SECRET
        return super().variables() | named

    def worker(self) -> tuple[str, ...]:
        """Return the command of a worker of background jobs; see the base class."""
        module = "framework.serving.jobs.worker"
        return ("python", "-m", module) if self.jobs is not None and self.jobs.broker else ()

    def pod_problems(self) -> list[Problem]:
        """Return that pods need a database for background jobs; see the base class."""
        if self.jobs is None or variable_of(self.jobs.results) or host_and_port(self.jobs.results):
            return []
        reason = "a pod's own file is lost with the pod, and other pods do not see it"
        overrides = ("serving.jobs.results=<variable with a postgresql:// URL>",)
        return [Problem("serving.jobs.results", reason, overrides)]

    def beside(self) -> Mapping[str, str]:
        """Return the adapters' URLs; see the base class."""
        return {f"serving.adapters.{name}": source for name, source in self.adapters.items()}

    def fetch(self, model: Path) -> None:
        """Fetch the adapters; see the base class."""
        self._adapters(model)

    def _adapters(self, model: Path) -> dict[str, Adapter]:
        return fetch_adapters(self.adapters, model.parent / "adapters")

    traces: Traces | None = None
    """Sends a trace of each request to an OpenTelemetry collector; off by default."""

    def stores(self) -> tuple[str, ...]:
        """Return the stores of the request log and of drift's reference; see the base class."""
        log = None if self.request_log is None else self.request_log.folder
        urls = (url for url in (log, self.drift.reference) if url is not None)
        return tuple(dict.fromkeys(url for url in urls if "://" in url and not url.startswith("file:")))

    def serve(self, model: Path, release: Release) -> None:
        """Answer requests until SIGINT or SIGTERM; leave no child process and no bound port.

        Args:
            model: the published folder, already verified against ``release.digest``.
            release: the release to serve; its name is the model's name in the API.

        Raises:
            ConfigError: the release's task is unknown.
            ServeError: a package is not installed, the API key is empty, there is no route for the
                release's task, the port is taken, or the model or an adapter cannot be opened.
            SourceError: an adapter cannot be fetched.
        """
        self._serve(model, release, None)

    def serve_renewed(self, model: Path, release: Release, renewed: Renewed) -> None:
        """Serve; on SIGHUP, let another release take the place of this one. See the base class."""
        self._serve(model, release, renewed)

    def _check(self, release: Release) -> None:
        """Refuse what cannot be served.

        Raises:
            ServeError: a package or a key is missing, or an option does not fit the release.
        """
        needed = dict.fromkeys(("httptools", "httpx", "prometheus_client", "starlette", "uvicorn"), "serve")
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
        if release.name in self.adapters:
            raise ServeError(
                f"serving.adapters: '{release.name}' is the release itself; give the adapter another name"
            )
        if self.adapters and not open_task(release.task).generates:
            raise ServeError(
                f"release '{release.name}': serving.adapters is for language models, but its task is "
                f"'{release.task}'; remove it"
            )
        if self.fallback is not None and not open_task(release.task).generates:
            raise ServeError(
                f"release '{release.name}': serving.fallback answers conversations only; leave it out"
            )

    def _serve(self, model: Path, release: Release, renewed: Renewed | None) -> None:
        self._check(release)
        from framework.serving.app import run

        limits = Limits(
            max_new_tokens=self.max_new_tokens,
            max_prompt_characters=self.max_prompt_characters,
            max_wait_seconds=self.max_wait_seconds,
            grace_seconds=self.grace_seconds,
            access_log=self.access_log,
            page=self.page,
            engine_timeout=self.engine_timeout,
            queue_timeout=self.queue_timeout,
            receive_seconds=self.receive_seconds,
            keep_alive_seconds=self.keep_alive_seconds,
            max_connections=self.max_connections,
            keys=None if self.keys is None else Path(self.keys).expanduser(),
        )
        features = Features(
            adapters=self._adapters(model),
            cache=self.cache,
            drift=self.drift,
            fallback=self.fallback,
            jobs=self.jobs,
            request_log=self.request_log,
            traces=self.traces,
        )
        run(self, limits, features, model, release, renewed)
