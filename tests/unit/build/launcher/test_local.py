"""The local launcher: one worker process that can be followed, waited for and canceled."""

import os
from pathlib import Path

import pytest

from framework.build.launcher import Finished, Work
from framework.build.launcher.local import Local, LocalRun
from framework.build.model.tiny import TinyCausalLM
from framework.build.stages.model import FetchModel
from framework.core.errors import StepError
from framework.core.release import Release
from framework.core.step import Step
from framework.core.store import Store

LOCK_FILE = Path(__file__).parents[3] / "golden" / "tiny.lock"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """One step that writes the tiny model."""
    model = TinyCausalLM(name="tiny", license="Apache-2.0", parameters=1e5)
    return Work(
        name="tiny",
        recipe="tiny",
        command="run +recipe=tiny",
        steps=(Step("model", FetchModel(model=model, seed=0)),),
        plan="a" * 64,
        store=Store(tmp_path / "store"),
        url=f"file://{tmp_path}/models",
        plugins=(),
        machines=1,
        processes=1,
        gpus=False,
        saving_seconds=1.0,
    )


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_submit_returns_while_the_worker_runs_and_cancel_ends_it(work: Work) -> None:
    run = Local().submit(work)
    assert isinstance(run, LocalRun)
    worker = run._worker.pid
    assert is_running(worker)
    assert list((work.store.root / "jobs").glob("*.json"))
    run.cancel()
    assert not is_running(worker)
    assert not list((work.store.root / "jobs").glob("*.json"))
    assert work.store.record(work.last) is None
    with pytest.raises(StepError):
        run.wait()


def test_a_built_release_needs_no_process(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    released = Release.read(LOCK_FILE)
    monkeypatch.setattr(Local, "find", lambda self, work: released)
    monkeypatch.setattr("framework.build.launcher.local.is_lost", lambda url: False)
    monkeypatch.setattr(Store, "record", lambda self, step: {"key": step.key})
    run = Local().submit(work)
    assert isinstance(run, Finished)
    run.follow()
    built = run.wait()
    assert (built.release, built.steps) == (released, 0)
