from collections.abc import Callable
from typing import Any

import pytest

from framework.build.tuning.architectures import final_norms, heads, stacks
from framework.build.tuning.head import Head
from framework.core.errors import StepError


def trained(model: Any) -> set[str]:
    return {name for name, part in model.named_parameters() if part.requires_grad}


def test_head_alone_is_trained(open_base: Callable[[str], Any]) -> None:
    assert trained(Head().apply(open_base("causal-lm"), "causal-lm")) == {"lm_head.weight"}
    classifier = Head().apply(open_base("sequence-classification"), "sequence-classification")
    assert trained(classifier) == {"classifier.weight", "classifier.bias"}


def test_last_layers_are_trained_with_norm_and_head(open_base: Callable[[str], Any]) -> None:
    names = trained(Head(layers="last-1").apply(open_base("causal-lm"), "causal-lm"))
    assert {name.split(".layers.1.")[0] for name in names} == {"model", "model.norm.weight", "lm_head.weight"}
    classifier = Head(layers="last-1").apply(open_base("sequence-classification"), "sequence-classification")
    parts = {name.split(".")[0] if "layer" not in name else name[:20] for name in trained(classifier)}
    assert parts == {"bert.encoder.layer.1", "classifier"}


def test_too_many_layers_are_rejected(open_base: Callable[[str], Any]) -> None:
    with pytest.raises(StepError, match=r"model.layers has 2 layers, not 4; set tuning.layers=last-2"):
        Head(layers="last-4").apply(open_base("causal-lm"), "causal-lm")


def test_patterns_select_any_weights(open_base: Callable[[str], Any]) -> None:
    bitfit = Head(patterns=("*.bias",)).apply(open_base("sequence-classification"), "sequence-classification")
    assert trained(bitfit)
    assert all(name.endswith(".bias") for name in trained(bitfit))
    both = Head(patterns=("model.embed_tokens.weight",), layers="last-1")
    names = trained(both.apply(open_base("causal-lm"), "causal-lm"))
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} <= names


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (
            "model.norn.weight",
            "no parameter matches 'model.norn.weight'; did you mean 'model.norm.weight'?",
        ),
        ("*.lora_A", "no parameter matches '*.lora_A'; examples: model.embed_tokens.weight, "),
    ],
)
def test_unmatched_pattern_is_rejected(pattern: str, says: str, open_base: Callable[[str], Any]) -> None:
    with pytest.raises(StepError) as caught:
        Head(patterns=(pattern,)).apply(open_base("causal-lm"), "causal-lm")
    assert says in str(caught.value)


def test_layers_of_other_architectures_are_found() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    small = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 3, "num_heads": 2, "vocab_size": 50}
    t5 = T5ForConditionalGeneration(T5Config(**small, decoder_start_token_id=0))
    assert stacks(t5) == {"encoder.block": 3, "decoder.block": 3}
    assert final_norms(t5) == ["encoder.final_layer_norm", "decoder.final_layer_norm"]
    assert list(heads(t5)) == ["lm_head"]
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=16))
    assert stacks(gpt2) == {"transformer.h": 2}
    assert final_norms(gpt2) == ["transformer.ln_f"]
    assert list(heads(gpt2)) == ["lm_head"]
    names = trained(Head(layers="last-1").apply(gpt2, "causal-lm"))
    assert "transformer.wte.weight" in names  # tied to the head
    assert "transformer.wpe.weight" not in names
