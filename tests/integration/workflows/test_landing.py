"""Concurrent workflows that push to main all land, each as one commit."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from framework.core.release import LOCK, Release

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROOT = Path(__file__).parents[3]
NAMES = ("one", "two", "three")


def release(name: str, digit: str) -> Release:
    update = {"name": name, "digest": f"sha256:{digit * 64}", "model_uri": f"s3://models/{digit * 64}"}
    return Release.read(ROOT / "tests/golden/tiny.lock").model_copy(update=update)


def put(hub: Any, run: Callable[..., Any], digit: str) -> None:
    """Commit a rendered version of all three releases to main."""
    clone = hub.clone(f"version-{digit}")
    for name in NAMES:
        lock = clone / "environments" / "dev" / name / LOCK
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(release(name, digit).text())
        done = run(clone, "render", "+recipe=tiny", f"name={name}")
        assert done.returncode == 0, done.stderr
    hub.commit(clone, f"Version {digit}", "main")


def test_three_concurrent_rollbacks_all_land(hub: Any, run: Callable[..., Any]) -> None:
    put(hub, run, "a")
    first = hub.git(hub.bare, "rev-parse", "main")
    put(hub, run, "b")
    start = hub.git(hub.bare, "rev-parse", "main")

    def rollback(name: str) -> Any:
        inputs = {"release": name, "environment": "dev"}
        return hub.run("rollback", "workflow_dispatch", {"inputs": inputs}, app=True)

    with ThreadPoolExecutor(3) as pool:
        for ran in pool.map(rollback, NAMES):
            assert ran.returncode == 0, ran.output
    subjects = hub.git(hub.bare, "log", "--format=%an: %s", f"{start}..main").splitlines()
    assert sorted(subjects) == sorted(
        f"gitune[bot]: Roll {name} back in dev: {'b' * 12} -> {'a' * 12}" for name in NAMES
    )
    assert hub.git(hub.bare, "diff", "--stat", first, "main") == ""
    assert {call["token"] for call in hub.state()["gh"]} == {"the-apps-token"}
