"""Real ranks under torchrun that are killed, diverge or are stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

FAULTY = """
import os, signal
from framework.build.tuning.lora import LoRA

class Dying(LoRA):
    '''A rank gets SIGKILL, once or every time.'''
    at: int
    who: str = "1"
    always: bool = False
    def after_step(self, model, step):
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if step == self.at and os.environ["RANK"] == self.who and (first or self.always):
            os.kill(os.getpid(), signal.SIGKILL)

class Drifting(LoRA):
    '''A bit of a weight flips on one rank.'''
    rank_number: int
    at: int
    def after_step(self, model, step):
        if step == self.at and os.environ["RANK"] == str(self.rank_number):
            weight = next(p for p in model.parameters() if p.requires_grad).data
            weight.view(-1).view(__import__("torch").int32)[7] ^= 1 << 18
"""
SCRIPT = """
import sys, json
from pathlib import Path
from framework.core.errors import FrameworkError
from framework.build.model.tiny import TinyCausalLM
from framework.build.parallelism.ddp import DDP
from framework.build.training.launch import train_in_ranks
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.core.signals import exit_with_signal, handle_signals
import faulty, signal
from framework.build.tuning.lora import LoRA

handle_signals(exit_with_signal, [signal.SIGTERM])
base, data, output, scratch = map(Path, sys.argv[1:5])
tuning, training, layout = map(json.loads, sys.argv[5:])
kind = getattr(faulty, tuning.pop("kind"), LoRA)
for folder in (output, scratch):
    folder.mkdir(exist_ok=True)
training = Supervised(**{"learning_rate": 3e-3, "precision": "fp32", "micro_batch_size": 4, **training})
model = TinyCausalLM(name="tiny", license="x", parameters=1e5)
try:
    folders = Folders(model=base, data=data, output=output, scratch=scratch)
    tuning = kind(rank=4, alpha=8, dropout=0.1, **tuning)
    parts = {"model": model, "tuning": tuning, "parallelism": DDP(**layout)}
    train_in_ranks(training, TrainingRun(**parts, device="cpu", folders=folders, seed=0))
except FrameworkError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""
Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(tiny_base: Path, tiny_data: Path, tmp_path: Path, environ: dict[str, str]) -> Launch:
    """Start ranks that train the tiny model into ``tmp_path / name``; standard error is a pipe."""

    (tmp_path / "faulty.py").write_text(FAULTY)
    path = os.pathsep.join([str(tmp_path), environ["PYTHONPATH"]])

    def begin(name: str, tuning: dict, training: dict, **layout: int) -> "subprocess.Popen[str]":
        folders = map(str, (tiny_base, tiny_data, tmp_path / name, tmp_path / f"{name}-scratch"))
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *folders]
        command += [json.dumps(part) for part in (tuning, training, layout)]
        return subprocess.Popen(
            command, env={**environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True
        )

    return begin


def wait_and_read(process: "subprocess.Popen[str]") -> str:
    """Return the standard error of the process once it has ended."""
    assert process.stderr is not None
    with process.stderr:
        log = process.stderr.read()
    process.wait(120)
    return log


PLAIN = {"kind": "LoRA"}


@pytest.mark.slow
def test_killed_rank_restarts_and_weights_are_the_same(launch: Launch, tmp_path: Path) -> None:
    """Compare 12 undisturbed steps with 12 steps in which a rank is killed at the 7th."""
    training = {"epochs": 3, "checkpoint_every_steps": 3}
    whole = launch("whole", PLAIN, training)
    log = wait_and_read(whole)
    assert whole.returncode == 0, log
    killed = launch("killed", {"kind": "Dying", "at": 7}, training)
    log = wait_and_read(killed)
    assert killed.returncode == 0, log
    assert "a rank died" in log
    assert "(1 of 3)" in log
    assert "Traceback" not in log
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "killed"))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) <= 1e-6
    assert (tmp_path / "killed" / "log.jsonl").read_text() == (tmp_path / "whole" / "log.jsonl").read_text()


@pytest.mark.slow
def test_rank_zero_may_be_killed_too(launch: Launch, tmp_path: Path) -> None:
    """It is killed at step 7, while the checkpoint of step 6 may still be being written."""
    killed = launch(
        "killed", {"kind": "Dying", "at": 7, "who": "0"}, {"epochs": 3, "checkpoint_every_steps": 3}
    )
    log = wait_and_read(killed)
    assert killed.returncode == 0, log
    assert "(1 of 3)" in log
    assert len((tmp_path / "killed" / "log.jsonl").read_text().splitlines()) == 12


@pytest.mark.slow
def test_restarts_are_limited(launch: Launch) -> None:
    dying = launch("a", {"kind": "Dying", "at": 2, "always": True}, {"epochs": 1}, max_restarts=1)
    log = wait_and_read(dying)
    assert dying.returncode == 1
    assert "(1 of 1)" in log
    assert "tune: rank 1 was ended by SIGKILL" in log
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "odd", "named"),
    [(3, 2, "rank 2 has"), (2, 1, "ranks 0 and 1 have")],
)
def test_flipped_bit_stops_training_without_a_restart(
    launch: Launch, replicas: int, odd: int, named: str
) -> None:
    drifting = launch(
        "a",
        {"kind": "Drifting", "rank_number": odd, "at": 3},
        {"epochs": 3, "check_ranks_every_steps": 2},
        replicas=replicas,
    )
    log = wait_and_read(drifting)
    assert drifting.returncode == 1
    assert f"at step 4, {named}" in log
    assert "replace that machine" in log
    assert "Traceback" not in log
    assert "a rank died" not in log


@pytest.mark.slow
def test_sigterm_saves_all_ranks_at_one_step_and_resumes(launch: Launch, tmp_path: Path) -> None:
    training = {"epochs": 30, "checkpoint_every_steps": 1000, "max_steps": 100}
    whole = launch("whole", PLAIN, training)
    log = wait_and_read(whole)
    assert whole.returncode == 0, log
    cut = launch("cut", PLAIN, training)
    assert cut.stderr is not None
    assert any("step 20/100" in line for line in cut.stderr)
    cut.send_signal(signal.SIGTERM)
    log = wait_and_read(cut)
    assert cut.returncode == 143, log
    assert "torch/distributed" not in log  # torchrun's own logs
    assert "Traceback" not in log
    (kept,) = (tmp_path / "cut-scratch").glob("*.ckpt")
    step = int(kept.stem.partition("-")[2])
    assert 20 <= step < 100
    assert f"stopped by SIGTERM; a checkpoint of step {step} was saved" in log
    again = launch("cut", PLAIN, training)
    log = wait_and_read(again)
    assert again.returncode == 0, log
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "cut"))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) <= 1e-6
