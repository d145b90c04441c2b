"""``gradient_checkpointing``: the same gradients from recomputed activations."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from framework.build.tuning import Tuning
from framework.build.tuning.adapter import Adapter
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.build.tuning.prompt import Prompt

Fit = Callable[..., Path]


@pytest.mark.parametrize(
    ("tuning", "packing"),
    [(Full(), True), (LoRA(dropout=0.1), True), (LoRA(), False), (Adapter(), True), (Prompt(), False)],
    ids=lambda value: type(value).__name__,
)
def test_recomputing_calls_layers_again_with_equal_results(fit: Fit, tuning: Tuning, packing: bool) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    once, calls = LlamaMLP.forward, []

    def count(self, x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return once(self, x)

    results = {}
    for name, recompute in (("kept", False), ("again", True)):
        calls.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LlamaMLP, "forward", count)
            folder = fit(name, tuning, gradient_checkpointing=recompute, packing=packing, max_steps=3)
        weights = next(folder.glob("*.safetensors")).read_bytes()
        results[name] = ((folder / "log.jsonl").read_bytes(), weights, len(calls))
    assert results["again"][:2] == results["kept"][:2]
    assert results["again"][2] > 1.4 * results["kept"][2]
