"""Two real workers train together; they share only a folder and a port."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from framework.build.data.files import Files
from framework.build.model import Model
from framework.build.parallelism import Parallelism
from framework.build.parallelism.ddp import DDP
from framework.build.parallelism.single import Single
from framework.build.stages.data import PrepareData
from framework.build.stages.model import FetchModel
from framework.build.stages.tune import Tune
from framework.build.training.supervised import Supervised
from framework.build.tuning.lora import LoRA
from framework.core.job import write_job
from framework.core.step import Step
from framework.core.store import Store

ROOT = Path(__file__).parents[4]
ROWS = ROOT / "recipes" / "data" / "tiny"
Machine = Callable[..., "subprocess.Popen[str]"]


def steps(model: Model, layout: Parallelism, **training: Any) -> list[Step]:
    settings = {"learning_rate": 3e-3, "precision": "fp32", "micro_batch_size": 4, "global_batch_size": 8}
    first = Step("model", FetchModel(model=model, seed=0))
    files = Files(train=str(ROWS / "train.jsonl"), test=str(ROWS / "test.jsonl"), max_length=128)
    data = Step("data", PrepareData(data=files, model=model), {"model": first})
    stage = Tune(
        model=model,
        tuning=LoRA(rank=4, alpha=8, dropout=0.1),
        training=Supervised(**{**settings, **training}),
        parallelism=layout,
        device="cpu",
        seed=0,
    )
    return [first, data, Step("tune", stage, {"model": first, "data": data})]


@pytest.fixture
def start(tmp_path: Path, environ: dict[str, str]) -> Iterator[Machine]:
    """Start the worker as machine *number* of a job; a file gets its standard output and error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    begun: list[subprocess.Popen[str]] = []

    def begin(job: Path, number: int, **more: str) -> "subprocess.Popen[str]":
        machine = {
            "PET_NODE_RANK": str(number),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": port,
            "PET_LOCAL_ADDR": "127.0.0.1",
            "GITUNE_RUN": "one",
        }
        with (tmp_path / f"machine-{number}-{len(begun)}.log").open("w") as log:
            begun.append(
                subprocess.Popen(
                    [sys.executable, "-m", "framework.worker", str(job)],
                    env={**environ, **machine, **more},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
            )
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def job_of(steps: list[Step], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    job = folder / "job.json"
    job.write_text(write_job(steps, steps, str(folder / "store"), (), machines=2))
    return job


def logs(tmp_path: Path) -> str:
    return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in sorted(tmp_path.glob("machine-*.log")))


def wait_until(true: Callable[[], bool], tmp_path: Path) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, logs(tmp_path)
        time.sleep(0.05)


def difference(first: Path, second: Path) -> float:
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in (first, second))
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def alone(model: Model, start: Machine, tmp_path: Path, **training: Any) -> Path:
    """Train in one process; return the artifact."""
    whole = steps(model, Single(), **training)
    process = start(job_of(whole, tmp_path / "alone"), 0)
    assert process.wait(120) == 0, logs(tmp_path)
    return Store(tmp_path / "alone" / "store").folder(whole[-1])


@pytest.mark.slow
def test_two_machines_train_like_one_process(tiny_model: Model, start: Machine, tmp_path: Path) -> None:
    shared = steps(tiny_model, DDP(replicas=2, machines=2), epochs=2)
    job = job_of(shared, tmp_path / "two")
    second = start(job, 1)  # it may start first
    first = start(job, 0)
    assert first.wait(120) == 0, logs(tmp_path)
    assert second.wait(30) == 0, logs(tmp_path)
    whole = alone(tiny_model, start, tmp_path, epochs=2)
    assert difference(Store(tmp_path / "two" / "store").folder(shared[-1]), whole) <= 1e-6
    assert not list((tmp_path / "two" / "store" / "scratch").iterdir())
    assert "joining the first machine's trainings" in logs(tmp_path)


@pytest.mark.slow
def test_lost_machine_is_replaced_while_training_continues(
    tiny_model: Model, start: Machine, tmp_path: Path
) -> None:
    training = {"epochs": 100, "max_steps": 300, "checkpoint_every_steps": 5}
    shared = steps(tiny_model, DDP(replicas=2, machines=2, min_machines=1), **training)
    store = Store(tmp_path / "two" / "store")
    scratch = store.root / "scratch" / shared[-1].key
    job = job_of(shared, tmp_path / "two")
    first, second = start(job, 0), start(job, 1)
    wait_until(lambda: any(scratch.glob("step-*.ckpt")), tmp_path)
    os.killpg(second.pid, signal.SIGKILL)
    wait_until(lambda: "training on 1 of 2 machines" in logs(tmp_path), tmp_path)
    third = start(job, 1)
    assert first.wait(200) == 0, logs(tmp_path)
    assert third.wait(30) == 0, logs(tmp_path)
    whole = alone(tiny_model, start, tmp_path, **training)
    assert difference(store.folder(shared[-1]), whole) <= 1e-4
