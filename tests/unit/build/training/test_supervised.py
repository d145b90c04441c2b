import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from framework.build.training.supervised import Supervised
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.core.errors import StepError

ROOT = Path(__file__).parents[4]
Fit = Callable[..., Path]
LORA = LoRA(rank=4, alpha=8, dropout=0.1)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in log(folder)]


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("tuning", [Full(), LoRA(rank=8)], ids=["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_loss_falls(fit: Fit, tuning: Full | LoRA, precision: str) -> None:
    entries = losses(fit("a", tuning, epochs=6, learning_rate=1e-2, precision=precision))
    assert len(entries) == 24
    assert sum(entries[-4:]) / 4 < 0.85 * entries[0]


def test_log_has_one_entry_per_step_with_learning_rate(fit: Fit) -> None:
    entries = log(fit("a", Full(), max_steps=10, epochs=3, warmup_ratio=0.2, learning_rate=1e-3))
    assert [entry["step"] for entry in entries] == list(range(1, 11))
    rates = [entry["learning_rate"] for entry in entries]
    # The rate of the next step: warmup over 2 steps, then linearly to zero.
    assert rates == pytest.approx([5e-4, 1e-3, *(1e-3 * left / 8 for left in range(7, -1, -1))])


def test_planned_steps_equal_trained_steps(fit: Fit) -> None:
    option = Supervised(micro_batch_size=5, gradient_accumulation_steps=3, epochs=2, precision="fp32")
    assert option.steps(32) == 5  # 64 rows, 15 per step
    assert option.steps(32, ranks=2) == 3
    folder = fit("a", LORA, micro_batch_size=5, gradient_accumulation_steps=3, epochs=2)
    assert len(log(folder)) == 5


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_accumulating_4_of_2_equals_1_of_8(fit: Fit, packing: bool) -> None:
    """With rows of unequal length, every label has the same weight, not every micro batch."""
    one = fit("one", Full(), micro_batch_size=8, epochs=2, packing=packing)
    four = fit("four", Full(), micro_batch_size=2, gradient_accumulation_steps=4, epochs=2, packing=packing)
    assert losses(four) == pytest.approx(losses(one), abs=2e-5)
    assert apart(one, four) < 2e-3  # AdamW normalizes gradients, which magnifies rounding errors


def test_packing_changes_only_the_work(fit: Fit) -> None:
    packed, padded = (fit(str(packing), Full(), epochs=2, packing=packing) for packing in (True, False))
    assert losses(packed) == pytest.approx(losses(padded), abs=2e-5)
    assert apart(packed, padded) < 2e-3


def apart(one: Path, other: Path) -> float:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_weight_decay_and_clipping_have_an_effect(fit: Fit) -> None:
    plain, decayed, clipped = (
        weights(fit(name, Full(), max_steps=3, **option))
        for name, option in (("a", {}), ("b", {"weight_decay": 0.5}), ("c", {"gradient_clipping": 1e-6}))
    )
    assert plain != decayed
    assert plain != clipped


def test_non_finite_loss_stops_training(fit: Fit, tiny_base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["lm_head.weight"] *= 1e38
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(StepError, match=r"(nan|inf) at step 1, .*training\.learning_rate"):
        fit("a", LORA, base=broken)
    assert not list((tmp_path / "a").glob("*.safetensors"))


def fit_until(step: int, fit: Fit, name: str, **options: Any) -> None:
    """End training as if killed after *step* steps, before a checkpoint of that step."""
    from framework.build.training import callbacks

    show = callbacks.Progress._show

    def die(self: callbacks.Progress, loss: float, steps: int) -> None:
        if self._step == step:
            raise RuntimeError("cut off")
        show(self, loss, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.Progress, "_show", die)
        with pytest.raises(RuntimeError, match="cut off"):
            fit(name, LORA, **options)


@pytest.mark.parametrize(
    ("batch", "accumulate", "every", "killed_at"),
    [
        (8, 1, 3, (3,)),  # before the first checkpoint
        (8, 1, 3, (5,)),
        (8, 1, 4, (6,)),  # the checkpoint is at the end of an epoch
        (5, 3, 1, (4,)),  # epochs that end in an incomplete accumulation
        (4, 2, 3, (4, 8, 11)),  # killed three times
    ],
)
def test_resumed_run_is_bit_identical(
    fit: Fit, batch: int, accumulate: int, every: int, killed_at: tuple[int, ...]
) -> None:
    options = {
        "micro_batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "checkpoint_every_steps": every,
        "epochs": 3,
    }
    whole = fit("whole", LORA, **options)
    for step in killed_at:
        fit_until(step, fit, "cut", **options)
    resumed = fit("cut", LORA, **options)
    assert log(resumed) == log(whole)
    assert weights(resumed) == weights(whole)
    assert list((resumed.parent / "cut-scratch").glob("*.new")) == []


def test_resumed_run_repeats_no_step(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    from framework.build.training.module import TuneModule

    fit_until(9, fit, "cut", epochs=3, checkpoint_every_steps=4)
    steps = []
    once = TuneModule.training_step
    monkeypatch.setattr(TuneModule, "training_step", lambda self, *a: steps.append(1) or once(self, *a))
    fit("cut", LORA, epochs=3, checkpoint_every_steps=4)
    assert len(steps) == 12 - 8


SCRIPT = """
import os, signal, sys
from pathlib import Path
from framework.build.model.tiny import TinyCausalLM
from framework.build.parallelism.single import Single
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning.lora import LoRA

base, data, output, scratch, seed, kill = sys.argv[1:]
for folder in (output, scratch):
    Path(folder).mkdir(exist_ok=True)
if kill != "never":
    from framework.build.training import callbacks
    def die(self, loss, steps):
        if self._step == int(kill):
            os.kill(os.getpid(), signal.SIGKILL)
    callbacks.Progress._show = die
model = TinyCausalLM(name="tiny", license="x", parameters=1e5)
training = Supervised(learning_rate=3e-3, precision="fp32", epochs=3, checkpoint_every_steps=3)
folders = Folders(model=base, data=data, output=output, scratch=scratch)
parts = {"model": model, "tuning": LoRA(rank=4, alpha=8, dropout=0.1), "parallelism": Single()}
training.fit(TrainingRun(**parts, device="cpu", folders=folders, seed=seed))
"""


@pytest.mark.slow
def test_kill_9_and_another_process_change_no_byte(
    fit: Fit, tiny_base: Path, tiny_data: Path, tmp_path: Path
) -> None:
    options = {"epochs": 3, "checkpoint_every_steps": 3}
    here = fit("here", LORA, seed=7, **options)
    other_seed = fit("seed", LORA, seed=8, **options)
    assert weights(other_seed) != weights(here)

    def child(kill: str) -> int:
        folders = [tiny_base, tiny_data, tmp_path / "there", tmp_path / "there-scratch"]
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, folders), "7", kill]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"}
        return subprocess.run(command, env=environ, capture_output=True, timeout=120).returncode

    assert child("8") == -9
    kept = sorted(file.name for file in (tmp_path / "there-scratch").glob("*.ckpt"))
    assert kept == ["step-000000003.ckpt", "step-000000006.ckpt"]
    assert not list((tmp_path / "there").iterdir())
    assert child("never") == 0
    assert weights(tmp_path / "there") == weights(here)
    assert log(tmp_path / "there") == log(here)
