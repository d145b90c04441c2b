"""QLoRA: a frozen 4-bit base, and an adapter that is merged into the float base."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from framework.build.tuning.lora import LoRA
from framework.core.errors import StepError

pytest.importorskip("bitsandbytes")
QLORA = LoRA(rank=4, alpha=8, base_precision="nf4")
Open = Callable[[str], Any]


def begin(open_base: Open, tuning: LoRA = QLORA, task: str = "causal-lm") -> Any:
    torch.manual_seed(0)
    return tuning.apply(open_base(task), task)


def quantized(model: Any) -> dict[str, torch.Tensor]:
    return {name: part for name, part in model.state_dict().items() if part.dtype == torch.uint8}


def test_linear_layers_except_the_head_are_nf4(open_base: Open) -> None:
    for task, linear in (("causal-lm", 14), ("sequence-classification", 13)):
        packed = quantized(begin(open_base, task=task))
        weights = {name: part for name, part in packed.items() if name.endswith("base_layer.weight")}
        assert len(weights) == linear
        assert not [name for name in weights if "lm_head" in name or "classifier" in name]
        plain = open_base(task).state_dict()
        for name, part in weights.items():
            own = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
            assert part.numel() == plain[own].numel() / 2


def test_nf4_base_is_deterministic_and_frozen(open_base: Open, train: Callable[..., Any]) -> None:
    """A checkpoint has only the adapter, so a resumed run must quantize to the same bits."""
    model = begin(open_base)
    before = {name: part.clone() for name, part in model.state_dict().items() if "lora_" not in name}
    again = begin(open_base).state_dict()
    assert all(torch.equal(part, again[name]) for name, part in before.items())
    model.eval()(input_ids=torch.arange(1, 9)[None])  # evaluation must not repack the weights
    for autocast in (False, True):
        train(QLORA, model.train(), "causal-lm", 1e-2, autocast=autocast)
    after = model.state_dict()
    assert all(torch.equal(part, after[name]) for name, part in before.items())


def test_nf4_gradients_match_dequantized_weights(open_base: Open) -> None:
    import bitsandbytes as bnb

    model = begin(open_base, LoRA(rank=4, alpha=8, base_precision="nf4", double_quantization=False))
    layer = model.get_submodule("base_model.model.model.layers.0.mlp.down_proj.base_layer")
    weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    x = torch.randn(3, 5, 128, generator=torch.Generator().manual_seed(0), requires_grad=True)
    given, wanted = layer(x), torch.nn.functional.linear(x, weight)
    assert torch.allclose(given, wanted, atol=1e-5)
    one = torch.autograd.grad(given.square().sum(), x, retain_graph=True)[0]
    assert torch.allclose(one, torch.autograd.grad(wanted.square().sum(), x)[0], atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@torch.no_grad()
def test_adapter_is_merged_into_the_float_base(
    open_base: Open, train: Callable[..., Any], logits: Callable[[Any], torch.Tensor], tmp_path: Any
) -> None:
    model = begin(open_base)
    with torch.enable_grad():
        train(QLORA, model.train(), "causal-lm", 1e-2)
    QLORA.save(model.eval(), tmp_path)
    merged = QLORA.merge(open_base("causal-lm"), tmp_path)
    start = open_base("causal-lm").state_dict()
    name = "model.layers.0.self_attn.q_proj"
    parts = {key: value for key, value in model.state_dict().items() if name in key}
    rows = next(value for key, value in parts.items() if "lora_A" in key)
    columns = next(value for key, value in parts.items() if "lora_B" in key)
    wanted = start[f"{name}.weight"] + 2 * columns @ rows
    assert torch.allclose(merged.state_dict()[f"{name}.weight"], wanted, atol=1e-6)
    # The update works on the float base: the result is closer to the tuned model than the base is.
    apart = (logits(merged) - logits(model)).abs().mean()
    assert apart < 0.5 * (logits(open_base("causal-lm")) - logits(model)).abs().mean()


def test_missing_bitsandbytes_names_the_extra(open_base: Open, monkeypatch: Any) -> None:
    monkeypatch.setattr("framework.build.tuning.nf4.find_spec", lambda name: None)
    with pytest.raises(StepError, match=r"requires bitsandbytes: pip install 'gitune\[qlora\]'"):
        begin(open_base)


def test_plan_counts_nf4_bytes() -> None:
    assert QLORA.weight_bytes() < LoRA(base_precision="nf4", double_quantization=False).weight_bytes() < 0.6
    assert LoRA().weight_bytes() == 4
