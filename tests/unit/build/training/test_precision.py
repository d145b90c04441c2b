from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.model import Model
from framework.build.training import precision
from framework.build.training.precision import cast_frozen, name_emulation
from framework.build.tuning.full import Full
from framework.build.tuning.head import Head
from framework.build.tuning.ia3 import IA3
from framework.build.tuning.lora import LoRA

Fit = Callable[..., Path]


def weights_by_dtype(model: torch.nn.Module) -> dict[torch.dtype, int]:
    counts: dict[torch.dtype, int] = {}
    for weight in model.parameters():
        counts[weight.dtype] = counts.get(weight.dtype, 0) + weight.numel()
    return counts


def test_frozen_linear_weights_take_half_the_memory(tiny_model: Model, tiny_base: Path) -> None:
    tuned = LoRA(rank=4).apply(tiny_model.open(tiny_base), "causal-lm")
    cast_frozen(tuned, "bf16")
    for name, weight in tuned.named_parameters():
        half = "base_layer" in name or name.endswith("lm_head.weight")
        assert weight.dtype == (torch.bfloat16 if half else torch.float32), name
    assert weights_by_dtype(tuned)[torch.bfloat16] > weights_by_dtype(tuned)[torch.float32]


@pytest.mark.parametrize(
    "tuning", [LoRA(rank=4), LoRA(rank=4, use_dora=True), IA3()], ids=["lora", "dora", "ia3"]
)
def test_training_result_is_unchanged(fit: Fit, monkeypatch: pytest.MonkeyPatch, tuning: LoRA | IA3) -> None:
    cast = fit("cast", tuning, precision="bf16", epochs=1)
    monkeypatch.setattr(precision, "cast_frozen", lambda model, kind: None)
    plain = fit("plain", tuning, precision="bf16", epochs=1)
    for name in ("adapter_model.safetensors", "log.jsonl"):
        assert (cast / name).read_bytes() == (plain / name).read_bytes()


def test_weights_that_other_modules_read_stay_float32(tiny_model: Model, tiny_base: Path) -> None:
    tied = tiny_model.open(tiny_base)
    tied.lm_head.weight = tied.model.embed_tokens.weight
    cast_frozen(tied.requires_grad_(False), "bf16")
    assert tied.lm_head.weight.dtype == torch.float32
    assert tied.model.layers[0].self_attn.q_proj.weight.dtype == torch.bfloat16
    dora = LoRA(rank=4, use_dora=True).apply(tiny_model.open(tiny_base), "causal-lm")
    cast_frozen(dora, "bf16")
    assert all(p.dtype == torch.float32 for name, p in dora.named_parameters() if "base_layer" in name)


def test_trained_weights_and_fp32_stay_float32(tiny_model: Model, tiny_base: Path) -> None:
    full = Full().apply(tiny_model.open(tiny_base), "causal-lm")
    cast_frozen(full, "bf16")
    lora = LoRA(rank=4).apply(tiny_model.open(tiny_base), "causal-lm")
    cast_frozen(lora, "fp32")
    assert set(weights_by_dtype(full)) == set(weights_by_dtype(lora)) == {torch.float32}


def test_method_that_saves_all_weights_keeps_every_bit(fit: Fit, tiny_base: Path) -> None:
    from safetensors.torch import load_file

    base = load_file(tiny_base / "model.safetensors")
    saved = load_file(fit("head", Head(), precision="bf16", epochs=1) / "model.safetensors")
    same = [name for name in base if torch.equal(base[name], saved[name])]
    assert sorted(base.keys() - set(same)) == ["lm_head.weight"]


@pytest.mark.parametrize(
    ("capability", "device", "name", "warned"),
    [
        ("AVX2", "cpu", "bf16", True),
        ("AVX2", "cpu", "fp32", False),
        ("AVX2", "cuda", "bf16", False),
        ("AVX512", "cpu", "bf16", False),
    ],
)
def test_emulated_precision_is_named(
    capability: str, device: str, name: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    name_emulation(device, name)
    assert ("training.precision=fp32" in capsys.readouterr().out) is warned
