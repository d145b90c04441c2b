"""Pruned channels and heads of tiny models: selection, compatibility with transformers, recovery."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from framework.build.compression.channels import (
    attentions,
    cut_channels,
    cut_heads,
    feed_forwards,
    importance,
)
from framework.build.compression.prune_structured import PruneStructured
from framework.build.model import Model
from framework.build.model.tiny_t5 import TinySeq2Seq
from framework.build.task import open_task
from framework.build.training.batches import read_examples
from framework.build.training.supervised import Supervised
from framework.core.errors import StepError

IDS = torch.arange(3, 40)[None]


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def mean_loss(model: Any, data: Path) -> float:
    task = open_task("causal-lm")
    rows = read_examples(data / "train.safetensors")
    with torch.no_grad():
        total = sum(float(task.loss(model, task.collate([row], 0))) for row in rows)
    return total / sum(task.weight(labels) for _, labels in rows)


def test_pruned_language_model_opens_and_recovers(
    tiny_model: Model,
    tiny_tuned: Path,
    tiny_data: Path,
    tmp_path: Path,
    compressed: Callable[..., Path],
    outside: Callable[..., Any],
) -> None:
    training = Supervised(learning_rate=3e-3, max_steps=16, precision="fp32")
    option = PruneStructured(ratio=0.5, training=training)
    folder = compressed("pruned", option, tiny_model, tiny_tuned, tiny_data)
    assert config_of(folder)["intermediate_size"] == config_of(tiny_tuned)["intermediate_size"] // 2
    assert (folder / "model.safetensors").stat().st_size < 0.9 * (
        tiny_tuned / "model.safetensors"
    ).stat().st_size
    with torch.inference_mode():
        assert torch.equal(outside(folder), tiny_model.open(folder)(IDS).logits)
    before, cut, after = (
        mean_loss(tiny_model.open(each), tiny_data)
        for each in (tiny_tuned, tmp_path / "pruned-reshaped", folder)
    )
    assert before < cut
    assert after < 0.5 * (before + cut)


def test_reloaded_model_equals_the_pruned_one(tiny_llama: Path, tiny_model: Model, tmp_path: Path) -> None:
    rows = [(torch.arange(2, 30), torch.arange(2, 30))]
    model, task = tiny_model.open(tiny_llama), open_task("causal-lm")
    cut_heads(model, 0.5, task, rows)
    cut_channels(model, 0.25, 8, task, rows)
    assert model.model.layers[0].self_attn.q_proj.weight.shape == (32, 64)
    model.save_pretrained(tmp_path)
    written = config_of(tmp_path)
    assert (written["num_attention_heads"], written["num_key_value_heads"], written["head_dim"]) == (2, 1, 16)
    assert written["intermediate_size"] == 96
    with torch.inference_mode():
        assert torch.equal(tiny_model.open(tmp_path)(IDS).logits, model(IDS).logits)


def test_unused_channels_and_heads_are_pruned_first(tiny_llama: Path, tiny_model: Model) -> None:
    rows = [(torch.arange(2, 30), torch.arange(2, 30))]
    model, task = tiny_model.open(tiny_llama), open_task("causal-lm")
    idle = torch.arange(0, 128, 4)
    for layer in model.model.layers:
        layer.mlp.up_proj.weight.data[idle] = 0  # never active
        layer.self_attn.o_proj.weight.data[:, :32] = 0  # the first group of heads is never read
    with torch.inference_mode():
        wanted = model(IDS).logits
    _, blocks = feed_forwards(model)
    for scores in importance(model, task, rows, blocks):
        assert set((scores == 0).nonzero()[:, 0].tolist()) == set(idle.tolist())
    cut_channels(model, 0.25, 32, task, rows)
    cut_heads(model, 0.5, task, rows)
    assert len(attentions(model)) == 2
    with torch.inference_mode():
        assert torch.allclose(model(IDS).logits, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_encoders_lose_channels(kind: str, tiny_classifier: tuple[Model, Path], tmp_path: Path) -> None:
    rows = [(torch.arange(2, 30), torch.tensor([1, 2]))]
    if kind == "bert":
        option, folder = tiny_classifier
        rows = [(torch.arange(2, 30), torch.tensor([1]))]
    else:
        option, folder = TinySeq2Seq(name="t5", license="x", parameters=1), tmp_path / "t5"
        option.materialize(folder, seed=0)
    model = option.open(folder)
    before = sum(weight.numel() for weight in model.parameters())
    name, blocks = feed_forwards(model)
    cut_channels(model, 0.5, 32, open_task(option.task), rows)
    assert {block.writer.in_features for block in blocks} == {64}
    assert sum(weight.numel() for weight in model.parameters()) < 0.9 * before
    pruned = tmp_path / "pruned"
    model.save_pretrained(pruned)
    assert config_of(pruned)[name] == 64
    if kind == "bert":
        with torch.inference_mode():
            wanted, opened = model(IDS, output_hidden_states=True), option.open(pruned)
            found = opened(IDS, output_hidden_states=True)
        assert torch.equal(found.hidden_states[-1], wanted.hidden_states[-1])
        # Products of the head round differently with the memory alignment of its weights.
        assert torch.allclose(found.logits, wanted.logits, rtol=0, atol=1e-7)
        with pytest.raises(StepError, match=r"'bert' .*set compression\.prune-structured\.heads_ratio=0"):
            cut_heads(model, 0.5, open_task(option.task), rows)


def test_pruning_that_removes_nothing_is_rejected(tiny_model: Model, tiny_base: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    rows, task = [(torch.arange(2, 30), torch.arange(2, 30))], open_task("causal-lm")
    with pytest.raises(StepError, match="removes none of 128 channels in multiples of 32"):
        cut_channels(tiny_model.open(tiny_base), 0.1, 32, task, rows)
    with pytest.raises(StepError, match=r"set compression\.prune-structured\.heads_ratio=0"):
        cut_heads(tiny_model.open(tiny_base), 0.5, task, rows)
    with pytest.raises(StepError, match=r"model type 'gpt2' .*set compression=prune-unstructured"):
        cut_channels(GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2)), 0.5, 8, task, rows)
    with pytest.raises(ValidationError, match="should be above 0"):
        PruneStructured(ratio=0)
