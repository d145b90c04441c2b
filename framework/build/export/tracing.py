"""Wrap models as functions of plain tensors, which an exporter can trace.

Knows transformers' models and their key-value cache, but not the format of the export.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framework.build.engine.pooling import EMBEDDINGS, mean_pooled
from framework.core.errors import StepError

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

Axes = dict[int, str]
"""The names of a tensor's dynamic axes."""


_NO_POSITIONS = "its cache does not keep keys and values of positions"
_ATTENTION = ("full_attention", "sliding_attention")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")


def unsupported_cache(option: str, model_config: Mapping[str, Any]) -> str:
    """Return that *option* cannot export a language model some of whose layers keep no keys and values.

    They are recurrent, or convolutions; ``decoder`` refuses their models. Empty if the config names none.
    """
    architecture = (model_config.get("architectures") or [""])[0]
    if not architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return ""
    config = model_config.get("text_config") or model_config
    others = {*(config.get("layer_types") or ())} - {*_ATTENTION}
    if others or "state_size" in config or not any(name in config for name in _HEADS):
        return f"{option} does not support {architecture}: {_NO_POSITIONS}"
    return ""


@dataclass(frozen=True)
class Traceable:
    """A model that takes and returns plain tensors, with example arguments for tracing."""

    module: "Module"
    """Takes ``arguments``; returns a tensor, or a list of tensors."""
    arguments: "tuple[torch.Tensor | list[torch.Tensor], ...]"
    """Example arguments. No dynamic axis has size 1, which tracing would treat as a constant."""
    inputs: dict[str, Axes]
    """Names of the tensors in ``arguments``, in order, with their dynamic axes."""
    outputs: tuple[str, ...]
    """Names of the returned tensors."""

    @property
    def tensors(self) -> "list[torch.Tensor]":
        """The tensors in ``arguments``, flattened."""
        lists = [argument if isinstance(argument, list) else [argument] for argument in self.arguments]
        return [tensor for tensors in lists for tensor in tensors]


def encoder(model: Any) -> Traceable:
    """Return *model* as a function from token ids and mask to logits, or to vectors if it has no head.

    For the vectors see ``mean_pooled``.
    """
    import torch

    class LogitsOnly(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return mean_pooled(hidden, attention_mask)

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    headless = type(base).__name__.endswith("Model")
    module, output = (Pooled(), EMBEDDINGS) if headless else (LogitsOnly(), "logits")
    ids = torch.ones(2, 5, dtype=torch.long)
    axes = {0: "batch", 1: "sequence"}
    inputs = {"input_ids": axes, "attention_mask": axes}
    return Traceable(module, (ids, torch.ones_like(ids)), inputs, (output,))


def decoder(model: Any, option: str) -> Traceable:
    """Return the causal language model *model* as a function that takes and returns its cache.

    Inputs are ``input_ids`` and, if the model has them, ``position_ids`` (batch, sequence),
    ``attention_mask`` (batch, total) and for each layer ``past_key_values.<layer>.key`` and ``.value``
    (batch, heads, past, head size). Total is past plus sequence. Outputs are ``logits`` (batch,
    sequence, vocabulary) and for each layer ``present.<layer>.key`` and ``.value`` (batch, heads, total,
    head size).

    Args:
        model: a transformers model in evaluation mode.
        option: the export option, for messages.

    Raises:
        StepError: the model has an adapter, or its cache does not keep the keys and values of all positions.
    """
    import torch
    from transformers.cache_utils import DynamicCache, DynamicLayer

    shapes = _cache_shapes(model, option)
    has_positions = "position_ids" in inspect.signature(model.forward).parameters

    class WithCache(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, rest: list[torch.Tensor]
        ) -> list[torch.Tensor]:
            positions = {"position_ids": rest[0]} if has_positions else {}
            past = rest[len(positions) :]
            cache = DynamicCache()  # without a config, layers with a window keep all positions too
            for keys, values in zip(past[::2], past[1::2], strict=True):
                layer = DynamicLayer()
                layer.lazy_initialization(keys, values)
                layer.keys, layer.values = keys, values
                cache.layers.append(layer)
            logits = self.model(
                input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, **positions
            ).logits
            return [logits, *(state for layer in cache.layers for state in (layer.keys, layer.values))]

    return _cached_traceable(WithCache(), shapes, has_positions=has_positions)


def _cached_traceable(module: "Module", shapes: list[tuple[int, int]], *, has_positions: bool) -> Traceable:
    """Return *module* with example arguments: 2 rows of 3 new tokens after 5 cached ones.

    Args:
        module: takes token ids, mask and the list of positions, if any, and cache.
        shapes: heads and head size of every tensor in the cache.
        has_positions: whether the model takes ``position_ids``.
    """
    import torch

    rows, past, new = 2, 5, 3
    ids = torch.ones(rows, new, dtype=torch.long)
    mask = torch.ones(rows, past + new, dtype=torch.long)
    positions = [torch.arange(past, past + new).repeat(rows, 1)] if has_positions else []
    cache = [torch.zeros(rows, heads, past, size) for heads, size in shapes]
    tokens, cached = {0: "batch", 1: "sequence"}, {0: "batch", 2: "past"}
    names = [f"{layer}.{kind}" for layer in range(len(shapes) // 2) for kind in ("key", "value")]
    inputs: dict[str, Axes] = {"input_ids": tokens, "attention_mask": {0: "batch", 1: "total"}}
    inputs |= {"position_ids": tokens} if has_positions else {}
    inputs |= {f"past_key_values.{name}": cached for name in names}
    outputs = ("logits", *(f"present.{name}" for name in names))
    return Traceable(module, (ids, mask, [*positions, *cache]), inputs, outputs)


def _cache_shapes(model: Any, option: str) -> list[tuple[int, int]]:
    """Return heads and head size of every tensor in the cache, by running the model once."""
    import torch
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    kind = type(model).__name__
    if hasattr(model, "peft_config"):
        raise StepError(f"export={option} does not support {kind} with an adapter; set export=transformers")
    try:
        with torch.inference_mode():
            cache = model(input_ids=torch.ones(1, 1, dtype=torch.long), use_cache=True).get("past_key_values")
    except ValueError:  # transformers asks for positions, and no layer has any
        cache = None
    layers = cache.layers if isinstance(cache, DynamicCache) else ()
    # A window is a mask over the positions; other layers keep a state without positions.
    if not layers or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        raise StepError(f"export={option} does not support {kind}: {_NO_POSITIONS}; set export=transformers")
    return [(state.shape[1], state.shape[3]) for layer in layers for state in (layer.keys, layer.values)]
