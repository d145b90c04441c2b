"""Pipelines of real processes train like a single process, even if one is killed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from framework.build.model.tiny import TinyCausalLM
from framework.build.parallelism.pipeline import Pipeline
from framework.build.parallelism.pipeline_stage import check_stages
from framework.build.parallelism.single import Single
from framework.build.training.launch import train_in_ranks
from framework.build.training.pipelined import pad_left
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.config.schema import Config
from framework.core.errors import StepError
from framework.plan.rules import broken_rules

FAULTY = """
import os, signal
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA

class Dying:
    def after_step(self, model, step):
        if step == 8 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)

class DyingFull(Dying, Full):
    pass

class DyingLoRA(Dying, LoRA):
    pass
"""
MODEL = TinyCausalLM(name="tiny", license="x", parameters=1e5, layers=4, hidden_size=128)
TRAINING: dict[str, Any] = {
    "learning_rate": 3e-3,
    "precision": "fp32",
    "epochs": 10,
    "checkpoint_every_steps": 3,
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    MODEL.materialize(folder, seed=0)
    return folder


@pytest.fixture
def faulty(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Tuning methods that kill the second rank once, after step 8."""
    (tmp_path / "faulty_stages.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in {**environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{environ['PYTHONPATH']}"}.items():
        monkeypatch.setenv(name, value)
    yield import_module("faulty_stages")
    del sys.modules["faulty_stages"]


@pytest.fixture
def train(base: Path, tiny_data: Path, tmp_path: Path, faulty: Any) -> Callable[..., Path]:
    """Train into ``tmp_path / name``, with 8 rows per step; a second call with the same name resumes."""

    def begin(name: str, tuning: Any, layout: Any, steps: int = 20) -> Path:
        output, scratch = tmp_path / name, tmp_path / f"{name}-scratch"
        for folder in (output, scratch):
            folder.mkdir(exist_ok=True)
        folders = Folders(model=base, data=tiny_data, output=output, scratch=scratch)
        run = TrainingRun(
            model=MODEL, tuning=tuning, parallelism=layout, device="cpu", folders=folders, seed=0
        )
        if isinstance(layout, Single):
            Supervised(micro_batch_size=8, max_steps=steps, **TRAINING).fit(run)
        else:
            parts = {"micro_batch_size": 2, "gradient_accumulation_steps": 4 // layout.data}
            training = Supervised(max_steps=steps, **parts, **TRAINING)
            train_in_ranks(training, run)
        return output

    return begin


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def equal(folder: Path, one: Path) -> None:
    assert losses(folder) == pytest.approx(losses(one), abs=1e-5)
    ours, theirs = (load_file(next(path.glob("*.safetensors"))) for path in (folder, one))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-5


@pytest.mark.slow
def test_two_stages_train_like_one_process_after_a_kill(
    train: Callable[..., Path], faulty: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    one = train("one", LoRA(rank=4, alpha=8, dropout=0.0), Single())
    two = train("two", faulty.DyingLoRA(rank=4, alpha=8, dropout=0.0), Pipeline(stages=2))
    assert "a rank died" in capfd.readouterr().err
    equal(two, one)


def tie(base: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(base)


@pytest.mark.slow
def test_tied_embeddings_get_both_gradients(train: Callable[..., Path], base: Path) -> None:
    tie(base)
    one = train("one", Full(), Single())
    assert "lm_head.weight" not in load_file(one / "model.safetensors")
    equal(train("four", Full(), Pipeline(stages=2, data=2)), one)


@pytest.mark.slow
def test_stages_resume_from_a_single_process_checkpoint(
    train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = train("one", Full(), Single())
    from framework.build.training.module import TuneModule

    once = TuneModule.training_step

    def die(self: TuneModule, batch: Any, index: int) -> Any:
        if self.global_step == 7:
            raise RuntimeError("cut off")
        return once(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TuneModule, "training_step", die)
        with pytest.raises(RuntimeError, match="cut off"):
            train("cut", Full(), Single())
    assert (tmp_path / "cut-scratch" / "step-000000006.ckpt").is_file()
    equal(train("cut", Full(), Pipeline(stages=4)), one)


OPEN = """
import json, sys, torch
from transformers import AutoModelForCausalLM
model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"], info
assert "framework" not in sys.modules
print(json.dumps(model(torch.arange(20)[None]).logits[0, -1].tolist()))
"""


@pytest.mark.slow
def test_3d_trains_like_one_process_after_a_kill(
    train: Callable[..., Path], faulty: Any, environ: dict[str, str]
) -> None:
    one = train("one", Full(), Single())
    eight = train("eight", faulty.DyingFull(), Pipeline(data=2, stages=2, tensor=2))
    equal(eight, one)
    opened = []
    for folder in (one, eight):
        command = [sys.executable, "-W", "ignore", "-c", OPEN, str(folder)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        opened.append(json.loads(done.stdout))
    assert opened[1] == pytest.approx(opened[0], abs=1e-3)


def test_ranks_are_ordered_by_data_then_stage_then_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Pipeline(data=2, stages=2, tensor=2)
    assert layout.processes == 8
    data_ranks = []
    for rank in range(8):
        monkeypatch.setenv("RANK", str(rank))
        data_ranks.append(layout.data_rank)
    assert data_ranks == [0, 0, 0, 0, 1, 1, 1, 1]


def test_step_is_padded_left_without_labels(tiny_data: Path) -> None:
    batch = {
        "input_ids": torch.tensor([[0, 7, 8], [5, 6, 7]]),
        "attention_mask": torch.tensor([[0, 1, 1], [1, 1, 1]]),
        "position_ids": torch.tensor([[0, 0, 1], [0, 1, 2]]),
        "labels": torch.tensor([[-100, -100, 8], [-100, 6, 7]]),
    }
    for wide, name in zip(pad_left(batch), batch, strict=True):
        assert wide.shape == (2, 32)
        assert torch.equal(wide[:, -3:], batch[name])
        assert set(wide[:, :-3].flatten().tolist()) == ({-100} if name == "labels" else {0})


def test_rules_report_what_stages_need(config: Callable[..., Config]) -> None:
    words = ("+recipe=tiny", "parallelism=pipeline", "parallelism.stages=4")
    (problem,) = broken_rules(config(*words))
    assert problem.overrides == ("training.gradient_accumulation_steps=4",)
    enough = (*words, "training.gradient_accumulation_steps=4")
    assert broken_rules(config(*enough)) == []
    problems = broken_rules(config(*enough, "training.neftune_alpha=5", "training.validation.share=0.1"))
    assert [problem.key for problem in problems] == ["training.neftune_alpha", "training.validation"]


def test_unsupported_models_are_rejected_for_stages(base: Path, tiny_bert: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = MODEL.open(base)
    check_stages(model, model, 4)
    with pytest.raises(StepError, match=r"set parallelism\.stages=4$"):
        check_stages(model, model, 5)
    model.requires_grad_(False)
    model.model.layers[3].requires_grad_(True)
    with pytest.raises(StepError, match=r"stage 0, .*set parallelism=fsdp2"):
        check_stages(model, model, 2)
    bert = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with pytest.raises(StepError, match=r"'bert' models; set parallelism=fsdp2"):
        check_stages(bert, bert, 2)
