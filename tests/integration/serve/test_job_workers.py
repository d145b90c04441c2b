"""Background work by Celery: workers, brokers and servers that die lose no job and answer none twice."""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import debian_servers
import httpx
import pytest
from job_workers import WATCH, Worker, add, all_ended, status, working
from redis_process import RedisProcess
from server_process import Served, descendants, eventually, serving, start, stopped

from framework.core import metric_names as metrics

pytestmark = pytest.mark.slow

JOBS = {
    "broker": "GITUNE_BROKER",
    "concurrency": 2,
    "lease_seconds": 3,
    "republish_seconds": 3,
    "max_seconds": 300,
}


@dataclass
class Parts:
    """All that can die."""

    served: Served
    worker: Worker
    broker: debian_servers.DebianServer | RedisProcess
    folder: Path


@contextlib.contextmanager
def parts(tiny_genai: Path, folder: Path) -> Iterator[Parts]:
    with debian_servers.redis() as (server, url), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITUNE_BROKER", url)
        jobs = {**JOBS, "results": f"sqlite:///{folder}/jobs.sqlite"}
        options = {"max_new_tokens": 200, "max_batch_size": 4, "grace_seconds": 5, "jobs": jobs}
        server_of_model = serving(tiny_genai, "genai", "causal-lm", folder, **options)
        with server_of_model as served, working(folder, served.url) as worker:
            first = served.process
            try:
                yield Parts(served, worker, server, folder)
            finally:
                if served.process is not first:  # a test has started it again
                    served.process.terminate()
                    served.process.communicate(timeout=30)
    print((folder / "worker.log").read_text())  # pytest shows it if the test fails


def test_a_worker_answers_and_cancels(tiny_genai, tmp_path) -> None:
    with parts(tiny_genai, tmp_path) as running:
        served = running.served
        first = add(served)
        assert all_ended(served, [first])
        with stopped(served):
            ids = [add(served, 200) for _ in range(3)]
            assert eventually(lambda: [status(served, each) for each in ids].count("in_progress") == 2)
            for each in ids:
                httpx.post(f"{served.url}/v1/jobs/{each}/cancel")
            # The workers end their requests, although the model does not move.
            assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == 0)
        last = add(served)
        assert all_ended(served, [last])
        # What a response continues is found when it is accepted: workers need not see it.
        responses = served.client.responses
        kept = responses.create(model="tiny", input="hello world", store=True, max_output_tokens=16)
        asked = {"model": "tiny", "input": "hello", "previous_response_id": kept.id, "max_output_tokens": 16}
        later = responses.create(**asked, background=True).id
        assert eventually(lambda: responses.retrieve(later).status in ("completed", "incomplete"))
        assert responses.retrieve(later).output_text == responses.create(**asked).output_text
        assert [status(served, each) for each in (first, *ids, last)] == [
            "incomplete",
            *["cancelled"] * 3,
            "incomplete",
        ]
        assert eventually(lambda: served.sample(metrics.JOBS_ENDED, "cancelled") == 3)
        whole = ("incomplete", "completed")
        assert eventually(lambda: sum(served.sample(metrics.JOBS_ENDED, each) for each in whole) == 3)
        assert (tmp_path / "pulse").exists()
        assert running.worker.stop() == 0


def kill_worker(running: Parts) -> None:
    running.worker.kill()
    running.worker.start()


def kill_child(running: Parts) -> None:
    assert running.worker.process is not None
    for child in list(descendants(running.worker.process.pid))[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def restart_broker(running: Parts) -> None:
    running.broker.kill()
    time.sleep(1)
    running.broker.start()


def kill_server(running: Parts) -> None:
    served = running.served
    engines = descendants(served.process.pid)
    served.process.kill()
    served.process.wait()
    for engine in engines:
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine, signal.SIGKILL)
    assert served.process.stderr is not None
    served.process.stderr.close()
    served.process = start(running.folder)
    assert eventually(lambda: served.status("/ready") == 200, 120)


def running_jobs(served: Served, ids: list[str]) -> int:
    return [status(served, each) for each in ids].count("in_progress")


def test_nothing_is_lost_or_answered_twice(tiny_genai, tmp_path) -> None:
    """Redis as the broker; ``tests/e2e/test_random_kills.py`` has RabbitMQ."""
    with parts(tiny_genai, tmp_path) as running:
        assert all_ended(running.served, [add(running.served)])
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as database:
            database.executescript(WATCH)
        ids: list[str] = []
        for kill in (kill_worker, restart_broker, kill_server, kill_child):
            with stopped(running.served):  # so that jobs run, and wait, when it happens
                ids += [add(running.served, 24) for _ in range(12)]
                # On a busy machine they may not run yet; what follows must hold at any moment.
                eventually(lambda: running_jobs(running.served, ids) >= 2, 45)  # noqa: B023
            kill(running)
        assert all_ended(running.served, ids, 240)
        found = [httpx.get(f"{running.served.url}/v1/jobs/{each}").json() for each in ids]
        assert {job["status"] for job in found} <= {"completed", "incomplete"}
        assert all(job["result"]["choices"] for job in found)
        with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as database:
            seen = [job_id for (job_id,) in database.execute("SELECT id FROM seen")]
        assert sorted(seen) == sorted(ids)
