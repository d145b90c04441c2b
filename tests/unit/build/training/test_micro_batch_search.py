import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.training import micro_batch_search as search
from framework.build.training.memory_estimate import rank_memory_savings
from framework.build.training.supervised import Supervised
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.build.tuning.prefix import Prefix
from framework.core.errors import StepError

Fit = Callable[..., Path]
LORA = LoRA(rank=4, alpha=8, dropout=0.1)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def set_free_memory(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(search, "available_memory", lambda: gib * 2**30)


@pytest.mark.parametrize(("gib", "size"), [(100, 8), (0.001, 1)])
def test_auto_size_keeps_the_rows_of_a_step(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, gib: float, size: int
) -> None:
    set_free_memory(monkeypatch, gib)
    auto = fit("auto", LORA, micro_batch_size="auto", global_batch_size=8, epochs=2)
    accumulate = 8 // size
    same = fit("same", LORA, micro_batch_size=size, gradient_accumulation_steps=accumulate, epochs=2)
    assert log(auto)[0] == {"step": 0, "micro_batch_size": size}
    assert log(auto)[1:] == log(same)  # the search draws no random numbers
    weights = "adapter_model.safetensors"
    assert (auto / weights).read_bytes() == (same / weights).read_bytes()


def test_auto_size_is_extrapolated_from_measurements(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "activation_bytes", lambda *arguments: 1e9)
    for room, size in ((5e9, 4), (3.9e9, 2), (40e9, 32)):
        set_free_memory(monkeypatch, room / search._USABLE / 2**30)
        name = str(size)
        folder = fit(name, LORA, micro_batch_size="auto", global_batch_size=32, max_steps=1)
        assert log(folder)[0]["micro_batch_size"] == size


def test_auto_size_divides_the_rows_of_a_step(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    set_free_memory(monkeypatch, 100)
    folder = fit("a", LORA, micro_batch_size="auto", global_batch_size=12, max_steps=1)
    assert log(folder)[0]["micro_batch_size"] == 4


def test_resumed_run_keeps_its_size(
    fit: Fit, cut_off: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"micro_batch_size": "auto", "global_batch_size": 8, "epochs": 2, "checkpoint_every_steps": 2}
    set_free_memory(monkeypatch, 0.001)
    whole = fit("whole", LORA, **options)
    cut_off(5, "cut", LORA, **options)
    set_free_memory(monkeypatch, 100)
    assert (fit("cut", LORA, **options) / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()


def test_global_batch_size_is_the_rows_of_a_step(fit: Fit) -> None:
    one = fit("one", LORA, micro_batch_size=4, global_batch_size=16, epochs=2)
    other = fit("other", LORA, micro_batch_size=4, gradient_accumulation_steps=4, epochs=2)
    assert (one / "log.jsonl").read_bytes() == (other / "log.jsonl").read_bytes()
    assert Supervised(micro_batch_size=4, global_batch_size=16).steps(33) == 7


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_out_of_memory_suggests_overrides(fit: Fit, monkeypatch: Any, error: Exception) -> None:
    from framework.build.training.module import TuneModule

    def fail(self: TuneModule, batch: Any, index: int) -> None:
        raise error

    monkeypatch.setattr(TuneModule, "training_step", fail)
    with pytest.raises(StepError) as caught:
        fit("a", Full(), micro_batch_size=8)
    message = str(caught.value)
    assert "8 row(s)" in message
    assert len(message.partition("effective first: ")[2].split("; ")) == 3


def test_other_errors_are_not_wrapped(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    from framework.build.training.module import TuneModule

    def fail(self: TuneModule, batch: Any, index: int) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(TuneModule, "training_step", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        fit("a", Full())


def test_failed_allocation_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert search._is_out_of_memory(caught.value)


def suggestions(training: Supervised, tuning: Any, parameters: float, longest: int) -> list[str]:
    return rank_memory_savings(training, tuning, parameters, longest, generates=True, on_cpu=False)


def test_suggestions_fit_the_run() -> None:
    large = suggestions(Supervised(micro_batch_size=1), Full(), 8e9, 512)
    assert large[0] == "tuning=qlora"
    assert "tuning=lora" in large
    assert not any("micro_batch_size" in change for change in large)
    long_rows = suggestions(Supervised(micro_batch_size=64, gradient_accumulation_steps=2), LORA, 1e8, 2048)
    assert long_rows[0] == "training.micro_batch_size=1 training.gradient_accumulation_steps=128"
    assert "training.gradient_checkpointing=true" in long_rows
    again = suggestions(Supervised(micro_batch_size=64, gradient_checkpointing=True), LORA, 1e8, 2048)
    assert "training.gradient_checkpointing=true" not in again
    assert "training.gradient_checkpointing=true" not in suggestions(Supervised(), Prefix(), 1e8, 2048)
