"""Tensor parallelism: which linear layers of a block are column-parallel, and which are row-parallel.

Of two consecutive matrices the first is sharded by its outputs (columns), the second by its inputs (rows).
So processes communicate only once for attention and once for the feed-forward (Shoeybi et al., 2019,
arXiv:1909.08053).
"""

from typing import Any

from framework.core.errors import StepError

_LLAMA = (("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"), ("o_proj", "down_proj"))
_BERT = (("query", "key", "value", "intermediate.dense"), ("attention.output.dense", "output.dense"))
_SUPPORTED = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "granite"), _LLAMA),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), _LLAMA),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
}
"""By model type: the suffixes of column-parallel layers' paths, then of row-parallel ones."""


def shard_linear_layers(model: Any, layers: list[Any], mesh: Any) -> None:
    """Shard the linear layers of every block in *layers* over *mesh*, in place.

    Raises:
        StepError: the architecture is not supported, or its heads cannot be divided evenly.
    """
    kind = model.config.model_type
    if kind not in _SUPPORTED:
        raise StepError(
            f"parallelism.tensor: does not support '{kind}' models; set parallelism=fsdp2 "
            f"(supported: {', '.join(sorted(_SUPPORTED))})"
        )
    _require_even_division(model.config, mesh.size())
    by_outputs, by_inputs = _SUPPORTED[kind]
    for layer in layers:
        for path, module in list(layer.named_modules()):
            if _ends_with(path, by_inputs):
                _shard_linear(module, path, mesh, by_inputs=True)
            elif _ends_with(path, by_outputs):
                _shard_linear(module, path, mesh, by_inputs=False)


def _ends_with(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)


def _require_even_division(config: Any, size: int) -> None:
    from math import gcd

    heads = config.num_attention_heads
    divisor = gcd(heads, getattr(config, "num_key_value_heads", None) or heads, config.intermediate_size)
    if divisor % size:
        fits = max(number for number in range(1, size) if divisor % number == 0)
        change = f"parallelism.tensor={fits}" if fits > 1 else "parallelism=fsdp2"
        raise StepError(
            f"parallelism.tensor: {heads} attention heads "
            f"({getattr(config, 'num_key_value_heads', heads)} key-value heads) cannot be divided evenly "
            f"among {size} processes; set {change}"
        )


def _shard_linear(module: Any, path: str, mesh: Any, by_inputs: bool) -> None:
    """Shard a linear layer, or one with a LoRA adapter.

    By outputs: ``[W1; W2] x + [B1; B2] A x``. By inputs: ``[W1 W2] x + B [A1 A2] x``. The other factor of
    the adapter is replicated, with the same gradient in every process.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    from torch.nn import Linear

    style = RowwiseParallel if by_inputs else ColwiseParallel
    if isinstance(module, Linear):
        parallelize_module(module, mesh, style())
        return
    base = getattr(module, "base_layer", None)
    adapters = getattr(module, "lora_A" if by_inputs else "lora_B", None)
    if not isinstance(base, Linear) or adapters is None:
        raise StepError(
            f"parallelism.tensor: cannot shard {path}, a {type(module).__name__}; set parallelism=fsdp2"
        )
    parallelize_module(base, mesh, style())
    for adapter in adapters.values():
        parallelize_module(adapter, mesh, style())
