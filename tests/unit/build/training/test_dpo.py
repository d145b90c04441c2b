"""DPO on a tiny model: its loss computed by hand, and its effect on preferences."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.data.files import Files
from framework.build.engine import open_engine
from framework.build.evaluation import Base
from framework.build.evaluation.preference import PreferenceEvaluation
from framework.build.model import Model
from framework.build.parallelism.single import Single
from framework.build.stages.merge import Merge
from framework.build.stages.tune import Tune
from framework.build.task.preference_pairs import Preferences, preferred, with_reference
from framework.build.training.batches import read_examples
from framework.build.training.dpo import Dpo
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning import Tuning
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.core.errors import PlanError, StepError
from framework.core.step import Workspace
from framework.plan.build import Plan


@pytest.fixture(scope="module")
def pairs(
    tiny_model: Model,
    tiny_base: Path,
    prepare_rows: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Prompts with a right answer, which is chosen, and a longer wrong one."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, numbers in (("train", range(24)), ("test", range(24, 32))):
        names = ("even", "odd")
        rows = [
            {"prompt": f"{n}?", "chosen": names[n % 2], "rejected": f"not {names[n % 2]}"} for n in numbers
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Files(train=str(folder / "train.jsonl"), test=str(folder / "test.jsonl"), max_length=128)
    return prepare_rows(data, tiny_model, tiny_base, folder / "rows")


def on_cpu(model: Model, tuning: Tuning, folders: Folders) -> TrainingRun:
    return TrainingRun(
        model=model, tuning=tuning, parallelism=Single(), device="cpu", folders=folders, seed=0
    )


def test_loss_is_that_of_the_paper(tiny_model: Model, tiny_base: Path, pairs: Path) -> None:
    rows = read_examples(pairs / "train")[:3]
    base = tiny_model.open(tiny_base).requires_grad_(False)
    pairs_with_reference = with_reference(base, rows, pad=0)
    task = Preferences(beta=0.3)
    # Before training every margin is 0.
    assert float(task.loss(base, task.collate(pairs_with_reference, 0))) == pytest.approx(
        3 * math.log(2), rel=1e-5
    )
    with torch.no_grad():
        for weight in base.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    by_hand = 0.0
    for ids, labels, others, other_labels, reference in pairs_with_reference:
        sums = []
        for tokens, wanted in ((ids, labels), (others, other_labels)):
            log_probabilities = base(tokens[None]).logits[0].log_softmax(-1)
            positions = [index for index in range(len(tokens) - 1) if wanted[index + 1] != -100]
            sums.append(sum(float(log_probabilities[index, tokens[index + 1]]) for index in positions))
        margin = (sums[0] - sums[1]) - float(reference[0] - reference[1])
        by_hand += math.log(1 + math.exp(-0.3 * margin))
    assert float(task.loss(base, task.collate(pairs_with_reference, 0))) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize(
    ("tuning", "rate"), [(Full(), 2e-3), (LoRA(rank=4, alpha=8), 1e-2)], ids=["full", "lora"]
)
def test_chosen_answers_become_more_likely_than_rejected(
    tuning: Tuning, rate: float, tiny_model: Model, tiny_base: Path, pairs: Path, tmp_path: Path
) -> None:
    output, scratch, merged = tmp_path / "out", tmp_path / "scratch", tmp_path / "merged"
    for folder in (output, scratch, merged):
        folder.mkdir()
    option = Dpo(learning_rate=rate, micro_batch_size=4, max_steps=24, precision="fp32")
    folders = Folders(model=tiny_base, data=pairs, output=output, scratch=scratch)
    option.fit(on_cpu(tiny_model, tuning, folders))
    losses = [json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)  # the first step starts from the reference
    assert losses[-1] < 0.5
    Merge(model=tiny_model, tuning=tuning).run(
        {"model": tiny_base, "tune": output, "data": pairs}, merged, Workspace(merged)
    )
    rows = read_examples(pairs / "test")
    base = Base(decode=lambda ids: "", open=lambda: open_engine("torch", tiny_base))
    metrics = PreferenceEvaluation().measure(open_engine("torch", merged), "causal-lm", rows, base)
    assert tuple(metrics) == PreferenceEvaluation().metrics("causal-lm")
    assert metrics["reward_accuracy"] == 1.0
    gained = preferred(open_engine("torch", merged), rows) - preferred(open_engine("torch", tiny_base), rows)
    assert metrics["reward_margin"] == pytest.approx(float(gained.mean()), rel=1e-5)
    assert metrics["reward_margin"] > 2


def test_rows_without_a_rejected_answer_are_rejected(
    tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path: Path
) -> None:
    folders = Folders(model=tiny_base, data=tiny_data, output=tmp_path, scratch=tmp_path)
    with pytest.raises(StepError, match="row 1 has no rejected answer"):
        Dpo(max_steps=8, precision="fp32").fit(on_cpu(tiny_model, Full(), folders))


def test_supervised_training_refuses_preferences(
    tiny_model: Model, tiny_base: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Any] = []
    monkeypatch.setattr(Supervised, "fit", lambda self, run: fitted.append(type(self)))
    inputs, parts = {"model": tiny_base, "data": pairs}, {"model": tiny_model, "tuning": Full()}
    stage = Tune(**parts, training=Supervised(), parallelism=Single(), device="cpu", seed=0)
    with pytest.raises(StepError, match="set training=dpo"):
        stage.run(inputs, tmp_path, Workspace(tmp_path))
    recovery = stage.model_copy(update={"recovers": True})  # of a compressed model
    for allowed in (recovery, stage.model_copy(update={"training": Dpo()})):
        allowed.run(inputs, tmp_path, Workspace(tmp_path))
    assert fitted == [Supervised, Dpo]
    assert recovery.spec() == stage.spec()


def test_dpo_is_rejected_for_a_classifier(plan: Callable[..., Plan]) -> None:
    with pytest.raises(PlanError) as caught:
        plan("+recipe=sentiment", "training=dpo")
    (problem,) = caught.value.problems
    assert (problem.key, problem.overrides) == ("training", ("training=supervised",))
    words: Any = (
        "+recipe=tiny",
        "training=dpo",
        "evaluation=preference",
        "gates={reward_accuracy: {min: 0.9}}",
    )
    assert plan(*words).last.label == "publish"
