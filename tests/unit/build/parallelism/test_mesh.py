from typing import Any

import pytest
from pydantic import ValidationError

from framework.build.parallelism.ddp import DDP
from framework.build.parallelism.mesh import Mesh
from framework.build.parallelism.tensor_plan import shard_linear_layers
from framework.core.errors import StepError


class Side:
    """A mesh dimension that has only a size."""

    def __init__(self, processes: int) -> None:
        self.processes = processes

    def size(self) -> int:
        return self.processes


def llama(**fields: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "vocab_size": 8, "intermediate_size": 48}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **fields}))


def test_indivisible_heads_are_rejected() -> None:
    six = llama(num_attention_heads=6, num_key_value_heads=6)
    with pytest.raises(StepError, match=r"set parallelism\.tensor=3"):
        shard_linear_layers(six, list(six.model.layers), Side(4))
    one = llama(num_attention_heads=6, num_key_value_heads=1)
    with pytest.raises(StepError, match=r"6 attention heads \(1 .*; set parallelism=fsdp2"):
        shard_linear_layers(one, list(one.model.layers), Side(2))


def test_unsupported_architecture_is_rejected() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=8))
    with pytest.raises(StepError, match="'gpt2' models; set parallelism=fsdp2"):
        shard_linear_layers(model, list(model.transformer.h), Side(2))


def test_tensor_group_sees_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, seen = Mesh(data=2, tensor=3), []
    for number in range(mesh.processes):
        monkeypatch.setenv("RANK", str(number))
        seen.append(mesh.data_rank)
    assert seen == [0, 0, 0, 1, 1, 1]
    assert mesh.data_parallel == 2


def test_invalid_sizes_are_rejected() -> None:
    with pytest.raises(ValidationError, match=r"3 processes .* 2 machines"):
        DDP(replicas=3, machines=2)
    with pytest.raises(ValidationError, match="fully sharded weights"):
        Mesh(data=1, tensor=2, cpu_offload=True)


def test_norm_of_plain_gradients_equals_torchs() -> None:
    import torch

    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 2))]
    for weight in weights:
        weight.grad = torch.full_like(weight, 2.0)
    norm = Mesh().clip(weights, 1.0)
    assert float(norm) == pytest.approx(28**0.5)
    assert float(torch.nn.utils.get_total_norm([w.grad for w in weights])) == pytest.approx(1.0, abs=1e-5)


def test_shares_per_process() -> None:
    from framework.build.parallelism.deepspeed import DeepSpeed

    def shares(layout: Any) -> tuple[float, float]:
        return layout.weight_share, layout.optimizer_share

    assert shares(Mesh(data=2, tensor=2)) == (0.25, 0.25)
    assert shares(DeepSpeed(stage=2, replicas=4)) == (1.0, 0.25)
    assert shares(DDP(replicas=4)) == (1.0, 1.0)
