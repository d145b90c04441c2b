"""A worker: takes jobs from the broker and asks a server of their release.

It runs as ``python -m framework.serving.jobs.worker``. It needs neither the model nor its packages. Its API
key is in the environment variable ``GITUNE_API_KEY``, where the server wants one.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from framework.core.errors import ConfigError, FrameworkError
from framework.core.release import Release
from framework.serving import API_KEY, Serving
from framework.serving.jobs.background import check_broker, holder_name
from framework.serving.jobs.celery_queue import TASK, open_celery
from framework.serving.jobs.job import Job
from framework.serving.jobs.rows import JobRows
from framework.serving.jobs.runner import JobRunner
from framework.serving.jobs.settings import Jobs
from framework.serving.jobs.table import JobTable

if TYPE_CHECKING:
    from celery import Celery

_CONNECT_SECONDS = 10.0
_PULSE_SECONDS = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Work until SIGINT or SIGTERM, and end what was begun; return the exit code.

    A wrong release or config is reported in one line on stderr.
    """
    arguments = _arguments().parse_args(argv)
    try:
        release = Release.read(arguments.release).name
        settings = _read_settings(arguments.config)
        app = open_worker(settings, release, arguments.url)
    except FrameworkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if arguments.pulse is not None:
        app.steps["worker"].add(pulse(arguments.pulse))
    worker = app.Worker(
        concurrency=settings.concurrency,
        loglevel="WARNING",
        pool="prefork",
        quiet=True,
        without_gossip=True,
        without_heartbeat=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def pulse(file: Path) -> type:
    """Return a part of the worker that touches *file* while the worker's loop runs, for a probe to see."""
    from celery import bootsteps

    class Pulse(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Timer",)

        def start(self, parent: Any) -> None:
            """Touch the file now and from now on."""
            file.touch()
            parent.timer.call_repeatedly(_PULSE_SECONDS, file.touch)

    return Pulse


def _read_settings(path: Path) -> Jobs:
    """Return the options of background work of the server whose options are in the JSON file at *path*.

    Raises:
        ConfigError: there is no such file, it has other content, or the server needs no worker.
    """
    try:
        settings = getattr(Serving.model_validate(json.loads(path.read_text(encoding="utf-8"))), "jobs", None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; set --config to the server's options") from None
    if not isinstance(settings, Jobs) or not settings.broker:
        raise ConfigError(
            f"{path}: jobs.broker is not set, so the server runs the jobs itself; set serving.jobs.broker, "
            "or start no worker"
        )
    return settings


def open_worker(settings: Jobs, release: str, url: str) -> "Celery":
    """Return Celery's application with the task that answers a job.

    Args:
        settings: the options of background work.
        release: the release's name.
        url: base URL of a server of the release.

    Raises:
        ServeError: an environment variable or a package is missing.
    """
    from celery.signals import worker_process_init

    broker = settings.broker_url()
    check_broker(broker)
    app = open_celery(broker, release, publishes=False)
    runners: list[JobRunner] = []
    JobRows(settings.results_url(Path()), release).close()  # a wrong URL ends the worker before its first job

    # A connection to a database must not be shared with the parent of a process.
    @worker_process_init.connect(weak=False)  # type: ignore[untyped-decorator]
    def open_table(**_: Any) -> None:
        rows = JobRows(settings.results_url(Path()), release)
        table = JobTable(rows, settings.max_seconds, settings.lease_seconds)
        runners.append(JobRunner(table, server_at(url), holder_name()))

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def answer(job_id: str) -> None:
        """Answer one job, unless it is done, cancelled, or another's."""
        asyncio.run(runners[-1].run(job_id))

    return app


def server_at(url: str) -> Callable[[Job], httpx.AsyncClient]:
    """Return what connects to the server at *url* with this process's API key."""
    key = os.environ.get(API_KEY, "").strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # An answer takes as long as it takes; the job's deadline ends it.
    timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)

    def connect(job: Job) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    return connect


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m framework.serving.jobs.worker", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="the release.lock")
    parser.add_argument("--config", type=Path, required=True, help="the server's options as JSON")
    parser.add_argument("--url", required=True, help="base URL of the server, such as http://x.models.svc")
    parser.add_argument("--pulse", type=Path, metavar="FILE", help="touch this file while the worker runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
