"""Find the layers of a model: attention, feed-forward, stacks and heads.

Knows the module names of transformers' architectures; not what is trained in them.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class Layers:
    """The linear layers of one block, by the endings of their paths; the last one computes the output."""

    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    keys_values: tuple[str, ...]
    """The attention layers that IA3 scales."""


_LLAMA = Layers(
    ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj"), ("k_proj", "v_proj")
)
_BERT = Layers(
    ("query", "key", "value", "attention.output.dense"),
    ("intermediate.dense", "output.dense"),
    ("key", "value"),
)
_BART = Layers(("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "fc2"), ("k_proj", "v_proj"))
_T5 = Layers(("q", "k", "v", "o"), ("wi", "wi_0", "wi_1", "wo"), ("k", "v"))
_GPT2 = Layers(("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj"), ("attn.c_attn",))
_NEOX = Layers(
    ("query_key_value", "attention.dense"), ("dense_h_to_4h", "dense_4h_to_h"), ("query_key_value",)
)
_PHI3 = Layers(("qkv_proj", "o_proj"), ("gate_up_proj", "down_proj"), ("qkv_proj",))
_DISTILBERT = Layers(("q_lin", "k_lin", "v_lin", "out_lin"), ("lin1", "lin2"), ("k_lin", "v_lin"))

_KNOWN = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "granite"), _LLAMA),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), _LLAMA),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "vilt"), _BERT),
    **dict.fromkeys(("bart", "mbart", "marian", "m2m_100", "opt"), _BART),
    **dict.fromkeys(("t5", "mt5"), _T5),
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
    "phi3": _PHI3,
    "distilbert": _DISTILBERT,
}


def layers_of(model: Any) -> Layers:
    """Return the names of *model*'s linear layers.

    Raises:
        StepError: the architecture is not known.
    """
    kind = model.config.model_type
    if kind not in _KNOWN:
        raise StepError(
            f"tuning.target_modules: the layers of model type '{kind}' are not known; list them (its linear "
            f"layers are {', '.join(linear_names(model))})"
        )
    return _KNOWN[kind]


def linear_names(model: "Module") -> list[str]:
    """Return the distinct last components of the paths of all linear layers, sorted."""
    from torch.nn import Linear

    linear = (path for path, module in model.named_modules() if isinstance(module, Linear))
    return sorted({path.rpartition(".")[2] for path in linear})


def named(model: "Module", ending: str) -> "list[tuple[str, Module]]":
    """Return path and module of every module whose path ends with the components of *ending*."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if path == ending or path.endswith(f".{ending}")
    ]


def heads(model: Any) -> "dict[str, Module]":
    """Return the head by path: a language model's output layer, or a classifier's modules."""
    if model.base_model is not model:
        base = model.base_model
        return {name: child for name, child in model.named_children() if child is not base}
    output = model.get_output_embeddings()
    return {path: module for path, module in model.named_modules() if output is not None and module is output}


def stacks(model: "Module") -> dict[str, int]:
    """Return path and length of every stack of layers: one, or an encoder's and a decoder's."""
    from torch.nn import ModuleList

    lengths: dict[str, int] = {}
    for path, module in model.named_modules():
        nested = any(path.startswith(f"{outer}.") for outer in lengths)
        if isinstance(module, ModuleList) and len(module) and not nested:
            lengths[path] = len(module)
    return lengths


def final_norms(model: "Module") -> list[str]:
    """Return the paths of the norms after the last layer of each stack."""
    paths = [path for path, _ in model.named_modules()]
    norms: list[str] = []
    for stack in stacks(model):
        parent = stack.rpartition(".")[0]
        prefix = f"{parent}." if parent else ""
        later = paths[paths.index(stack) :]
        # Only siblings of the stack: deeper modules belong to a head or to another stack.
        siblings = [path for path in later if path.startswith(prefix) and "." not in path[len(prefix) :]]
        norms += [path for path in siblings if re.search(r"norm|ln_", path[len(prefix) :].lower())]
    return norms
