import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.model import Model
from framework.build.task import open_task
from framework.build.training import Validation
from framework.build.training.batches import Batches, read_examples
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.core.errors import StepError

Fit = Callable[..., Path]
LORA = LoRA(rank=4, alpha=8)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def validation_losses(folder: Path) -> dict[int, float]:
    return {int(e["step"]): e["validation_loss"] for e in log(folder) if "validation_loss" in e}


def true_loss(model: Any, examples: list[Any], rows: list[int]) -> float:
    """The mean loss over all labels of *rows*, computed row by row."""
    task, total, weight = open_task("causal-lm"), 0.0, 0
    for row in rows:
        with torch.no_grad():
            total += float(task.loss(model, task.collate([examples[row]], 0)))
        weight += task.weight(examples[row][1])
    return total / weight


def split(data: Path, held_out: int, seed: int = 0) -> Batches:
    examples = read_examples(data / "train")
    return Batches(examples, open_task("causal-lm"), 4, 1, seed, validation=held_out)


def test_held_out_rows_are_never_trained_on(tiny_data: Path) -> None:
    batches = split(tiny_data, 5)
    seen = {row for index in range(30) for row in batches.at(index)["rows"]}
    held_out = {row for batch in batches.held_out() for row in batch["rows"]}
    assert held_out == set(batches.validation)
    assert len(held_out) == 5
    assert seen == set(range(32)) - held_out
    assert set(split(tiny_data, 5, seed=1).validation) != held_out
    assert list(split(tiny_data, 0).trained) == list(range(32))


@pytest.mark.parametrize(("tuning", "average"), [(Full(), 0.0), (LORA, 0.9)])
def test_loss_is_that_of_the_saved_weights(
    fit: Fit, tiny_model: Model, tiny_base: Path, tiny_data: Path, tuning: Any, average: float
) -> None:
    options = {"epochs": 2, "validation": Validation(rows=6, every_steps=3), "ema_decay": average}
    folder = fit("a", tuning, **options)
    assert list(validation_losses(folder)) == [3, 6, 7]
    model = tuning.merge(tiny_model.open(tiny_base), folder).eval()
    batches = split(tiny_data, 6)
    expected = true_loss(model, batches.examples, batches.validation)
    assert validation_losses(folder)[7] == pytest.approx(expected, abs=1e-5)


def test_validation_changes_no_step(fit: Fit) -> None:
    often, once = (
        fit(name, LoRA(dropout=0.1), epochs=2, validation=Validation(share=0.2, every_steps=every))
        for name, every in (("often", 1), ("once", 100))
    )
    weights = "adapter_model.safetensors"
    assert (often / weights).read_bytes() == (once / weights).read_bytes()
    assert len(validation_losses(often)) == 7
    assert [e for e in log(often) if "loss" in e] == [e for e in log(once) if "loss" in e]


BAD = {"learning_rate": 0.5, "epochs": 5, "warmup_ratio": 1.0}
"""A learning rate that rises until training diverges."""


def test_best_weights_are_kept_across_a_kill(
    fit: Fit,
    cut_off: Callable[..., None],
    tiny_model: Model,
    tiny_base: Path,
    tiny_data: Path,
) -> None:
    options = {**BAD, "validation": Validation(rows=6, every_steps=1, keep="best")}
    whole = fit("whole", LORA, **options)
    losses = validation_losses(whole)
    best = min(losses, key=lambda step: losses[step])
    assert best < max(losses)
    model = LORA.merge(tiny_model.open(tiny_base), whole).eval()
    batches = split(tiny_data, 6)
    assert true_loss(model, batches.examples, batches.validation) == pytest.approx(losses[best], abs=1e-5)
    cut_off(best + 3, "cut", LORA, **options, checkpoint_every_steps=best + 2)
    resumed = fit("cut", LORA, **options)
    for name in ("adapter_model.safetensors", "log.jsonl"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_patience_stops_training(fit: Fit, capfd: pytest.CaptureFixture[str]) -> None:
    validation = Validation(rows=6, every_steps=1, patience=2)
    losses = list(validation_losses(fit("a", LORA, **BAD, validation=validation)).values())
    lowest = [min(losses[: number + 1]) for number in range(len(losses))]
    waited = [losses[number] > lowest[number] for number in range(len(losses))]
    assert waited[-2:] == [True, True]
    assert not any(one and other for one, other in itertools.pairwise(waited[:-1]))
    assert len(losses) < math.ceil(26 * 5 / 8)
    assert "; stopping early" in capfd.readouterr().err


def test_run_killed_while_stopping_stops_there(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    from framework.build.tuning.peft_adapter import PeftAdapter

    options = {
        **BAD,
        "validation": Validation(rows=6, every_steps=1, patience=2),
        "checkpoint_every_steps": 1,
    }
    whole = fit("whole", LORA, **options)
    with monkeypatch.context() as patch:
        patch.setattr(PeftAdapter, "save", lambda *arguments: (_ for _ in ()).throw(OSError("cut off")))
        with pytest.raises(OSError, match="cut off"):
            fit("cut", LORA, **options)
    resumed = fit("cut", LORA, **options)
    for name in ("adapter_model.safetensors", "log.jsonl"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_holding_out_all_rows_is_rejected(fit: Fit) -> None:
    with pytest.raises(StepError, match=r"32 of 32 .*; set training.validation.rows=3$"):
        fit("a", LORA, validation=Validation(rows=32))


def test_small_share_holds_out_at_least_one_row() -> None:
    assert Validation(share=0.01).count(10) == 1
    assert Validation().count(10) == 0
