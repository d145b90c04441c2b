from collections.abc import Callable
from typing import Any

import pytest

from framework.build.tuning.ia3 import IA3
from framework.build.tuning.lora import LoRA
from framework.build.tuning.oft import OFT
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


def test_indivisible_block_suggests_one_that_fits(open_base: Open) -> None:
    with pytest.raises(StepError, match=r"tuning.block_size: 48 does not divide .* set tuning.block_size=64"):
        OFT(block_size=48).apply(open_base("causal-lm"), "causal-lm")
