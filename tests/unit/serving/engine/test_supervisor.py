"""What ``/health`` says about an engine that nothing starts again."""

import asyncio
from pathlib import Path

from starlette.applications import Starlette
from starlette.testclient import TestClient

from framework.core.release import Release
from framework.serving.api.probes import Probes
from framework.serving.engine.accepted import Accepted
from framework.serving.engine.model_worker import Settings
from framework.serving.engine.supervisor import EngineSupervisor
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")


def test_health_fails_once_the_supervisor_has_given_up(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path), RELEASE.engine, RELEASE.task, 1, 1, 0.0)
    supervisor = EngineSupervisor(settings, Accepted(10), lambda step: None, timeout=60)
    probes = Probes(lambda: supervisor.alive, lambda: supervisor.ready, Metrics(RELEASE))
    with TestClient(Starlette(routes=probes.routes)) as client:
        assert (client.get("/health").status_code, client.get("/ready").status_code) == (200, 503)
        asyncio.run(supervisor.run(lambda: None))  # the folder is empty
        assert "tokenizer" in str(supervisor.failure)
        assert (client.get("/health").status_code, client.get("/ready").status_code) == (503, 503)
