from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.tuning.adalora import AdaLoRA
from framework.build.tuning.ia3 import IA3
from framework.build.tuning.lora import LoRA
from framework.build.tuning.oft import OFT
from framework.build.tuning.peft_adapter import PeftAdapter
from framework.build.tuning.prefix import Prefix
from framework.build.tuning.prompt import Prompt
from framework.build.tuning.targets import resolve
from framework.core.errors import StepError

Open = Callable[[str], Any]


def adapted(model: Any) -> set[str]:
    return {
        name.split(".lora_A")[0].removeprefix("base_model.model.")
        for name in model.state_dict()
        if "lora_A" in name
    }


def test_presets_depend_on_the_architecture(open_base: Open) -> None:
    assert resolve("attention", open_base("causal-lm")) == ["q_proj", "k_proj", "v_proj", "o_proj"]
    both = LoRA(target_modules="attention-mlp").apply(open_base("causal-lm"), "causal-lm")
    every = LoRA(target_modules="all-linear").apply(open_base("causal-lm"), "causal-lm")
    assert adapted(both) == adapted(every)
    bert = open_base("sequence-classification")
    layers = adapted(LoRA(target_modules="attention-mlp").apply(bert, "sequence-classification"))
    assert len(layers) == 2 * 6
    assert not [name for name in layers if "pooler" in name]


def test_unknown_architecture_lists_its_layers(open_base: Open) -> None:
    model = open_base("causal-lm")
    model.config.model_type = "newcomer"
    for tuning in (LoRA(target_modules="attention"), IA3()):
        with pytest.raises(StepError, match=r"tuning\.target_modules: .*'newcomer'"):
            tuning.apply(model, "causal-lm")


@pytest.mark.parametrize(
    ("tuning", "key"),
    [
        (LoRA(), "tuning.target_modules"),
        (OFT(), "tuning.target_modules"),
        (Prompt(), "tuning"),
        (Prefix(), "tuning"),
    ],
)
def test_refusal_of_peft_names_the_key(
    tuning: PeftAdapter, key: str, open_base: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("not this one\nand more")

    monkeypatch.setattr("peft.get_peft_model", fail)
    with pytest.raises(StepError, match=rf"^{key}: {type(tuning).__name__} cannot .*: not this one; "):
        tuning.apply(open_base("causal-lm"), "causal-lm")


def test_ia3_rejects_unknown_names(open_base: Open) -> None:
    named = IA3(target_modules=("v_proj",), feedforward_modules=("down_proj",))
    names = [
        n
        for n, part in named.apply(open_base("causal-lm"), "causal-lm").named_parameters()
        if part.requires_grad
    ]
    assert len(names) == 4
    with pytest.raises(StepError, match=r"tuning.feedforward_modules: no linear layer is named 'dwon_proj'"):
        IA3(target_modules=("v_proj",), feedforward_modules=("dwon_proj",)).apply(
            open_base("causal-lm"), "causal-lm"
        )


def with_tied_embeddings(tiny_base: Path) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_base, tie_word_embeddings=True))


@pytest.mark.parametrize(
    ("tuning", "name"),
    [
        (LoRA(target_modules=("lm_head",)), "lm_head"),
        (LoRA(target_modules=("q_proj", "embed_tokens")), "embed_tokens"),
        (LoRA(target_modules=("lm_head",), use_dora=True), "lm_head"),
        (LoRA(target_modules=("lm_head",), init="pissa"), "lm_head"),
        (LoRA(target_modules=("embed_tokens", "q_proj"), base_precision="nf4"), "embed_tokens"),
        (AdaLoRA(target_modules=("lm_head",)), "lm_head"),
        (OFT(target_modules=("lm_head",)), "lm_head"),
        (IA3(target_modules=("lm_head",)), "lm_head"),
    ],
)
def test_tied_layer_is_rejected(tiny_base: Path, tuning: PeftAdapter, name: str) -> None:
    """A merge would change the other layer too, and ruin the model."""
    with pytest.raises(StepError, match=rf"tuning\.target_modules: '{name}' shares its weight") as caught:
        tuning.apply(with_tied_embeddings(tiny_base), "causal-lm", steps=20)
    assert "tuning=head" in str(caught.value)
    (problem,) = tuning.problems({"tie_word_embeddings": True})
    assert problem.key == "tuning.target_modules"
    assert name in problem.reason
    assert tuning.problems({"tie_word_embeddings": False}) == []


@pytest.mark.parametrize("targets", ["all-linear", "attention-mlp", ("q_proj",)])
def test_other_layers_of_a_tied_model_are_adapted(tiny_base: Path, targets: Any) -> None:
    tuning = LoRA(target_modules=targets)
    assert adapted(tuning.apply(with_tied_embeddings(tiny_base), "causal-lm"))
    assert tuning.problems({"tie_word_embeddings": True}) == []


@pytest.mark.parametrize(
    ("tuning", "key"),
    [
        (LoRA(target_modules=("embed_tokens",), init="pissa"), "tuning.init"),
        (AdaLoRA(target_modules=("embed_tokens",)), "tuning.target_modules"),
        (IA3(target_modules=("embed_tokens",)), "tuning.target_modules"),
    ],
)
def test_unsupported_embedding_is_one_line(open_base: Open, tuning: PeftAdapter, key: str) -> None:
    with pytest.raises(StepError) as caught:
        tuning.apply(open_base("causal-lm"), "causal-lm", steps=20)
    assert str(caught.value).startswith(f"{key}: ")
    assert "\n" not in str(caught.value)


def test_indivisible_block_suggests_one_that_fits(open_base: Open) -> None:
    with pytest.raises(StepError, match=r"tuning.block_size: 48 does not divide .* set tuning.block_size=64"):
        OFT(block_size=48).apply(open_base("causal-lm"), "causal-lm")
