"""Runs that are stopped, or whose newest checkpoint is damaged, end with the same bits."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.tuning.lora import LoRA

Fit = Callable[..., Path]
LORA = LoRA(rank=4, alpha=8, dropout=0.1)
OPTIONS: dict[str, Any] = {"epochs": 3, "checkpoint_every_steps": 5}


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def kept(folder: Path) -> list[int]:
    scratch = folder.parent / f"{folder.name}-scratch"
    return sorted(int(file.stem.partition("-")[2]) for file in scratch.glob("*.ckpt"))


def fit_and_stop_at(step: int, fit: Fit, name: str, **options: Any) -> None:
    """Train, and receive SIGTERM during *step*."""
    from framework.build.training.module import TuneModule

    loss = TuneModule.training_step

    def step_and_signal(self: TuneModule, *arguments: Any) -> Any:
        if self.global_step == step - 1:
            # Called as the interpreter would; a test below sends a real signal.
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)  # type: ignore[operator, misc]
        return loss(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TuneModule, "training_step", step_and_signal)
        with pytest.raises(SystemExit) as stopped:
            fit(name, LORA, **options)
    assert stopped.value.code == 143


@pytest.mark.parametrize(("accumulate", "step"), [(1, 1), (1, 7), (2, 6), (1, 12)])
def test_sigterm_saves_first_and_the_run_resumes(
    fit: Fit, capsys: pytest.CaptureFixture[str], tmp_path: Path, accumulate: int, step: int
) -> None:
    """Step 12, or 6 with accumulation, is the last: training is done, but nothing is written yet."""
    options = {**OPTIONS, "micro_batch_size": 8, "gradient_accumulation_steps": accumulate}
    whole = fit("whole", LORA, **options)
    before = signal.getsignal(signal.SIGTERM)
    fit_and_stop_at(step, fit, "cut", **options)
    assert signal.getsignal(signal.SIGTERM) is before
    assert f"stopped by SIGTERM; a checkpoint of step {step} was saved" in capsys.readouterr().err
    assert kept(tmp_path / "cut")[-1] == step
    assert not list((tmp_path / "cut").iterdir())
    resumed = fit("cut", LORA, **options)
    assert weights(resumed) == weights(whole)
    assert (resumed / "log.jsonl").read_text() == (whole / "log.jsonl").read_text()


def test_damaged_newest_checkpoint_costs_only_steps(
    fit: Fit, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whole = fit("whole", LORA, **OPTIONS)
    fit_and_stop_at(9, fit, "cut", **OPTIONS)
    newest = tmp_path / "cut-scratch" / "step-000000009.ckpt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert weights(fit("cut", LORA, **OPTIONS)) == weights(whole)
    assert "the checkpoint of step 9 is damaged" in capsys.readouterr().err


def test_checkpoint_is_due_after_minutes(fit: Fit, tmp_path: Path) -> None:
    folder = fit("a", LORA, epochs=1, checkpoint_every_minutes=1e-9, keep_checkpoints=3)
    assert kept(folder) == [1, 2, 3]  # not the 4th and last: it is in the output


def test_unwritable_checkpoint_stops_training(fit: Fit, monkeypatch: Any) -> None:
    from framework.build.training import checkpoints

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        fit("a", LORA, **OPTIONS)


SCRIPT = """
import sys
from pathlib import Path
from framework.build.model.tiny import TinyCausalLM
from framework.build.parallelism.single import Single
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning.lora import LoRA

base, data, output, scratch = map(Path, sys.argv[1:])
for folder in (output, scratch):
    folder.mkdir(exist_ok=True)
training = Supervised(learning_rate=3e-3, precision="fp32", epochs=200, checkpoint_every_steps=1000)
model = TinyCausalLM(name="tiny", license="x", parameters=1e5)
folders = Folders(model=base, data=data, output=output, scratch=scratch)
parts = {"model": model, "tuning": LoRA(rank=4, alpha=8), "parallelism": Single()}
training.fit(TrainingRun(**parts, device="cpu", folders=folders, seed=0))
"""


@pytest.mark.slow
def test_sigterm_exits_with_143(
    tiny_base: Path, tiny_data: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    folders = map(str, (tiny_base, tiny_data, tmp_path / "a", tmp_path / "a-scratch"))
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *folders]
    child = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    assert any("step 80/800" in line for line in child.stderr)
    child.terminate()
    message = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 143
    (step,) = kept(tmp_path / "a")
    assert f"stopped by SIGTERM; a checkpoint of step {step} was saved" in message
    assert "Traceback" not in message
