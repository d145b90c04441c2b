import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from framework.build.task import open_task
from framework.build.training.neftune import EmbeddingNoise
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA

Fit = Callable[..., Path]
ROWS = [(torch.arange(n), torch.arange(n)) for n in (4, 9)]


@pytest.fixture
def noisy(tiny_llama: Path) -> tuple[torch.nn.Module, EmbeddingNoise]:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    return model.get_input_embeddings(), EmbeddingNoise(model, alpha=5.0)


@pytest.mark.parametrize("packed", [True, False])
def test_noise_scale_depends_on_the_own_row(
    noisy: tuple[torch.nn.Module, EmbeddingNoise], packed: bool
) -> None:
    embed, noise = noisy
    batch = open_task("causal-lm").collate(ROWS, 0, packed)
    plain = embed(batch["input_ids"])
    noise.expect(batch)
    added = embed(batch["input_ids"]) - plain
    by_row = torch.split(added[0], [4, 9]) if packed else (added[0, 5:], added[1])
    for part, length in zip(by_row, (4, 9), strict=True):
        largest = 5.0 / math.sqrt(length * plain.shape[-1])
        assert 0.9 * largest < part.abs().max() <= largest
        assert part.mean().abs() < 0.1 * largest
    if not packed:
        assert added[0, :5].abs().max() == 0


def test_only_the_expected_call_gets_noise(noisy: tuple[torch.nn.Module, EmbeddingNoise]) -> None:
    embed, noise = noisy
    batch = open_task("causal-lm").collate(ROWS, 0, True)
    noise.expect(batch)
    first, second = embed(batch["input_ids"]), embed(batch["input_ids"])
    assert not torch.equal(first, second)
    assert torch.equal(second, embed(batch["input_ids"]))


@pytest.mark.parametrize("tuning", [Full(), LoRA(rank=4)])
def test_training_with_noise_resumes_to_the_same_bytes(
    fit: Fit, cut_off: Callable[..., None], tuning: Full | LoRA
) -> None:
    options = {"epochs": 2, "checkpoint_every_steps": 2, "neftune_alpha": 5.0}
    quiet = fit("quiet", tuning, **options | {"neftune_alpha": 0.0})
    whole = fit("whole", tuning, **options)
    assert (quiet / "log.jsonl").read_bytes() != (whole / "log.jsonl").read_bytes()
    cut_off(5, "cut", tuning, **options)
    assert (fit("cut", tuning, **options) / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
