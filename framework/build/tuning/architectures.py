"""Where the layers of known architectures lie: attention, feed-forward, stacks and heads.

Knows names that transformers gives to modules; knows nothing of what is trained in them.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class Layers:
    """The linear layers of one block, by the ends of their paths; the last of each writes its output."""

    attention: tuple[str, ...]
    feed_forward: tuple[str, ...]
    keys_values: tuple[str, ...]
    """What IA3 scales in attention."""


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
            f"tuning: the layers of a '{kind}' model are not known; name them in tuning.target_modules "
            f"(its linear layers are {', '.join(linear_names(model))})"
        )
    return _KNOWN[kind]


def linear_names(model: "Module") -> list[str]:
    """Return the last part of the path of every linear layer, each once, sorted."""
    from torch.nn import Linear

    return sorted({n.rpartition(".")[2] for n, part in model.named_modules() if isinstance(part, Linear)})


def named(model: "Module", ending: str) -> "list[tuple[str, Module]]":
    """Return path and module of everything whose path is *ending* or ends with it, part for part."""
    found = model.named_modules()
    return [(path, part) for path, part in found if path == ending or path.endswith(f".{ending}")]


def heads(model: Any) -> "dict[str, Module]":
    """Return what stands on top of the base model: a language model's output layer, or a classifier."""
    if model.base_model is not model:
        below = model.base_model
        return {name: part for name, part in model.named_children() if part is not below}
    output = model.get_output_embeddings()
    return {name: part for name, part in model.named_modules() if output is not None and part is output}


def stacks(model: "Module") -> dict[str, int]:
    """Return path and length of every outermost list of layers: one, or an encoder's and a decoder's."""
    from torch.nn import ModuleList

    found: dict[str, int] = {}
    for path, part in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(part, ModuleList) and len(part) and not inside:
            found[path] = len(part)
    return found


def final_norms(model: "Module") -> list[str]:
    """Return the paths of the norms behind the last layer of each stack."""
    ends = list(stacks(model))
    paths = [path for path, _ in model.named_modules()]
    behind: list[str] = []
    for stack in ends:
        parent = stack.rpartition(".")[0]
        prefix = f"{parent}." if parent else ""
        later = paths[paths.index(stack) :]
        # Only beside the stack: what lies deeper belongs to a head or to another stack.
        beside = [path for path in later if path.startswith(prefix) and "." not in path[len(prefix) :]]
        behind += [path for path in beside if re.search(r"norm|ln_", path[len(prefix) :].lower())]
    return behind
