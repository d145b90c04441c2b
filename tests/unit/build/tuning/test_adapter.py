import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.build.engine import open_engine
from framework.build.engine.attached_adapter import attach
from framework.build.engine.bottleneck import Bottleneck
from framework.build.model.sequence_classification import SequenceClassification
from framework.build.stages.merge import Merge
from framework.build.tuning.adapter import Adapter
from framework.core.errors import ServeError, StepError
from framework.core.step import Workspace


def targets(model: Any) -> list[str]:
    return [path for path, part in model.named_modules() if isinstance(part, Bottleneck)]


def test_houlsby_has_two_adapters_per_layer_and_pfeiffer_one(open_base: Callable[[str], Any]) -> None:
    both = Adapter().apply(open_base("causal-lm"), "causal-lm")
    assert targets(both) == [
        f"model.layers.{layer}.{part}" for layer in (0, 1) for part in ("self_attn.o_proj", "mlp.down_proj")
    ]
    one = Adapter(placement="pfeiffer").apply(open_base("sequence-classification"), "sequence-classification")
    assert targets(one) == [f"bert.encoder.layer.{layer}.output.dense" for layer in (0, 1)]


def test_new_adapter_does_not_change_the_base(
    open_base: Callable[[str], Any], logits: Callable[[Any], torch.Tensor]
) -> None:
    for task in ("causal-lm", "sequence-classification"):
        adapted = Adapter(reduction=8, activation="relu").apply(open_base(task), task)
        assert torch.equal(logits(adapted), logits(open_base(task)))


def test_width_and_activation_are_saved(open_base: Callable[[str], Any], tmp_path: Path) -> None:
    tuning = Adapter(reduction=8, activation="tanh")
    tuning.save(tuning.apply(open_base("causal-lm"), "causal-lm"), tmp_path)
    body = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (body["width"], body["activation"], body["peft_type"]) == (8, "tanh", "BOTTLENECK")


def test_adapter_of_another_model_is_rejected(open_base: Callable[[str], Any], tmp_path: Path) -> None:
    tuning = Adapter()
    tuning.save(tuning.apply(open_base("causal-lm"), "causal-lm"), tmp_path)
    with pytest.raises(ServeError, match="the adapter does not match its model"):
        attach(open_base("sequence-classification"), tmp_path)
    body = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(body | {"width": 5}))
    with pytest.raises(ServeError, match="or has another shape there"):
        attach(open_base("causal-lm"), tmp_path)


def test_target_modules_can_be_named(open_base: Callable[[str], Any]) -> None:
    named = Adapter(target_modules=("v_proj",)).apply(open_base("causal-lm"), "causal-lm")
    assert targets(named) == [f"model.layers.{layer}.self_attn.v_proj" for layer in (0, 1)]
    with pytest.raises(StepError, match="no linear layer is named 'v_porj'; did you mean 'v_proj'"):
        Adapter(target_modules=("v_porj",)).apply(open_base("causal-lm"), "causal-lm")


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_other_architectures_are_supported(kind: str, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    def build() -> Any:
        torch.manual_seed(0)
        if kind == "gpt2":
            return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50)).eval()
        small = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
        return T5ForConditionalGeneration(T5Config(**small, decoder_start_token_id=0)).eval()

    def ask(model: Any) -> torch.Tensor:
        ids = torch.arange(1, 9)[None]
        with torch.no_grad():
            more = {"decoder_input_ids": ids[:, :3]} if kind == "t5" else {}
            found: torch.Tensor = model(input_ids=ids, **more).logits
        return found

    tuning = Adapter(reduction=4)
    model = tuning.apply(build(), "causal-lm")
    with torch.no_grad():
        for part in model.parameters():
            if part.requires_grad:
                part.add_(torch.ones_like(part), alpha=0.05)
    tuning.save(model, tmp_path)
    assert not torch.equal(ask(model), ask(build()))
    assert torch.equal(ask(attach(build(), tmp_path)), ask(model))


def test_unmerged_folder_serves_and_exports_like_training(
    tiny_bert: Path, open_base: Callable[[str], Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    from framework.build.export.onnx import Onnx

    task, tuning = "sequence-classification", Adapter(reduction=4)
    model = tuning.apply(open_base(task), task)
    train(tuning, model, task, 1e-2)
    (tmp_path / "tune").mkdir()
    (tmp_path / "merged").mkdir()
    (tmp_path / "onnx").mkdir()
    tuning.save(model, tmp_path / "tune")
    shutil.copytree(tiny_bert, tmp_path / "base", ignore=shutil.ignore_patterns("model.onnx*"))
    option = SequenceClassification(
        name="tiny", license="none", parameters=1e5, source=str(tiny_bert), labels=("bad", "fair", "good")
    )
    inputs = {"model": tmp_path / "base", "tune": tmp_path / "tune"}
    Merge(model=option, tuning=tuning).run(inputs, tmp_path / "merged", Workspace(tmp_path))
    rows = [[2, 5, 7, 3], [2, 9, 8, 7, 6, 5, 4, 3], [2, 3]]
    base = open_engine("torch", tmp_path / "base").classify(rows)
    served = open_engine("torch", tmp_path / "merged").classify(rows)
    assert np.abs(base - served).max() > 1e-2
    with torch.no_grad():
        alone = model(input_ids=torch.tensor(rows[:1])).logits.numpy()
    assert np.abs(served[:1] - alone).max() <= 1e-5
    Onnx().write(tmp_path / "merged", tmp_path / "onnx")
    exported = open_engine("onnxruntime", tmp_path / "onnx").classify(rows)
    assert np.abs(served - exported).max() <= 1e-4
    assert not list((tmp_path / "onnx").rglob("*.safetensors"))
