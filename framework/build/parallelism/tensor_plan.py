"""Which linear layers of a block are cut by their outputs, and which by their inputs.

Of two matrices in a row the first is cut by its outputs and the second by its inputs, so that a block's
processes meet once for attention and once for the feed-forward (Shoeybi et al., 2019, arXiv:1909.08053).
"""

from typing import Any

from framework.core.errors import StepError

_LLAMA = (("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"), ("o_proj", "down_proj"))
_BERT = (("query", "key", "value", "intermediate.dense"), ("attention.output.dense", "output.dense"))
_KNOWN = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "granite"), _LLAMA),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), _LLAMA),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
}
"""Outputs first, then inputs, by the ends of the layers' paths."""


def cut(model: Any, layers: list[Any], mesh: Any) -> None:
    """Cut the linear layers of every block in *layers* over *mesh*, in place.

    Raises:
        StepError: the architecture is not known, or its heads cannot be shared out evenly.
    """
    kind = model.config.model_type
    if kind not in _KNOWN:
        raise StepError(
            f"parallelism.tensor: how to cut the layers of a '{kind}' model is not known; "
            f"set parallelism=fsdp2 (known are {', '.join(sorted(_KNOWN))})"
        )
    _refuse_uneven(model.config, mesh.size())
    outputs, inputs = _KNOWN[kind]
    for layer in layers:
        for path, part in list(layer.named_modules()):
            if _ends(path, inputs):
                _cut_linear(part, path, mesh, by_inputs=True)
            elif _ends(path, outputs):
                _cut_linear(part, path, mesh, by_inputs=False)


def _ends(path: str, names: tuple[str, ...]) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)


def _refuse_uneven(config: Any, size: int) -> None:
    from math import gcd

    heads = config.num_attention_heads
    shared = gcd(heads, getattr(config, "num_key_value_heads", None) or heads, config.intermediate_size)
    if shared % size:
        fits = max(number for number in range(1, size) if shared % number == 0)
        change = f"parallelism.tensor={fits}" if fits > 1 else "parallelism=fsdp2"
        raise StepError(
            f"parallelism.tensor: {size} processes cannot share {heads} attention heads "
            f"({getattr(config, 'num_key_value_heads', heads)} of keys) evenly; set {change}"
        )


def _cut_linear(part: Any, path: str, mesh: Any, by_inputs: bool) -> None:
    """Cut a linear layer, or one with a LoRA adapter beside it.

    By outputs: ``[W1; W2] x + [B1; B2] A x``. By inputs: ``[W1 W2] x + B [A1 A2] x``. The other half of
    the adapter is whole in every process, and gets the same gradient there.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    from torch.nn import Linear

    style = RowwiseParallel if by_inputs else ColwiseParallel
    if isinstance(part, Linear):
        parallelize_module(part, mesh, style())
        return
    base, adapters = (
        getattr(part, "base_layer", None),
        getattr(part, "lora_A" if by_inputs else "lora_B", None),
    )
    if not isinstance(base, Linear) or adapters is None:
        raise StepError(
            f"parallelism.tensor: {path} is a {type(part).__name__}, which cannot be cut; "
            "set parallelism=fsdp2"
        )
    parallelize_module(base, mesh, style())
    for adapter in adapters.values():
        parallelize_module(adapter, mesh, style())
