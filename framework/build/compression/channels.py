"""Remove the least important feed-forward channels and attention heads from a model.

Knows transformers' layers by name; knows neither folders nor the training that recovers the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framework.build.tuning.architectures import layers_of, named
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear

    from framework.build.task import Example, Task

_FEED_FORWARD = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "granite"), "intermediate_size"
    ),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "gpt_neox"), "intermediate_size"),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "vilt"), "intermediate_size"),
    **dict.fromkeys(("t5", "mt5"), "d_ff"),
    "opt": "ffn_dim",
    "distilbert": "hidden_dim",
}
"""The key in ``config.json`` of the feed-forward width, by model type."""

_HEADS = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "granite", "gemma", "gemma2", "gemma3_text")
"""Model types whose config has the head size; others derive it from hidden size and number of heads."""


@dataclass(frozen=True)
class Block:
    """Linear layers that share channels: *readers* produce them, *writer* consumes them."""

    readers: "tuple[Linear, ...]"
    writer: "Linear"

    def cut(self, kept: "Tensor", of_readers: "Sequence[Tensor] | None" = None) -> None:
        """Keep only the channels *kept* (sorted, int64); *of_readers* overrides that for each reader."""
        for reader, rows in zip(self.readers, of_readers or [kept] * len(self.readers), strict=True):
            reader.weight.data = reader.weight.data[rows].contiguous()
            if reader.bias is not None:
                reader.bias.data = reader.bias.data[rows].contiguous()
            reader.out_features = len(rows)
        self.writer.weight.data = self.writer.weight.data[:, kept].contiguous()
        self.writer.in_features = len(kept)


def feed_forwards(model: Any) -> tuple[str, list[Block]]:
    """Return the name of the width in *model*'s config, and the feed-forward blocks.

    Raises:
        StepError: the architecture is not supported.
    """
    kind = model.config.model_type
    if kind not in _FEED_FORWARD:
        raise StepError(
            f"compression.prune-structured: model type '{kind}' is not supported (supported: "
            f"{', '.join(sorted(_FEED_FORWARD))}); set compression=prune-unstructured"
        )
    return _FEED_FORWARD[kind], _blocks(model, layers_of(model).feed_forward)


def attentions(model: Any) -> list[Block]:
    """Return the attention blocks: readers are queries, keys and values.

    Raises:
        StepError: the architecture's config cannot express fewer heads of the same size.
    """
    kind = model.config.model_type
    if kind not in _HEADS:
        raise StepError(
            f"compression.prune-structured.heads_ratio: the config of model type '{kind}' has no head size, "
            "so heads cannot be removed; set compression.prune-structured.heads_ratio=0"
        )
    return _blocks(model, layers_of(model).attention)


def _blocks(model: Any, endings: Sequence[str]) -> list[Block]:
    *before, last = endings
    readers: dict[str, list[Any]] = {}
    for ending in before:
        for path, layer in named(model, ending):
            readers.setdefault(path.removesuffix(ending), []).append(layer)
    writers: dict[str, Any] = {path.removesuffix(last): layer for path, layer in named(model, last)}
    return [Block(tuple(layers), writers[prefix]) for prefix, layers in readers.items()]


def importance(
    model: Any, task: "Task", rows: "Sequence[Example]", blocks: Sequence[Block]
) -> "list[Tensor]":
    """Return for each block the importance of its channels on *rows*: float64 (channels,).

    It is the norm of a channel's activations times the norm of the weights that read it. That is how much
    the norm of the output changes without the channel: Wanda's score (Sun et al., 2023, arXiv:2306.11695),
    summed over a column.
    """
    import torch

    squares = [torch.zeros(block.writer.in_features, dtype=torch.float64) for block in blocks]
    hooks = []
    for block, total in zip(blocks, squares, strict=True):

        def add(module: Any, inputs: Any, total: Any = total) -> None:
            total += inputs[0].detach().flatten(0, -2).double().square().sum(0)

        hooks.append(block.writer.register_forward_pre_hook(add))
    with torch.no_grad():
        for row in rows:  # one by one: padding would count too
            task.loss(model, task.collate([row], model.config.pad_token_id or 0))
    for hook in hooks:
        hook.remove()
    return [
        total.sqrt() * block.writer.weight.detach().double().norm(dim=0)
        for block, total in zip(blocks, squares, strict=True)
    ]


def cut_channels(model: Any, ratio: float, multiple_of: int, task: "Task", rows: "Sequence[Example]") -> None:
    """Remove the share *ratio* of the channels of every feed-forward layer, in place.

    Args:
        model: float32, on the CPU; its config is updated.
        ratio: between 0 and 1.
        multiple_of: the number of remaining channels is a multiple of this.
        task: computes the loss of *rows*.
        rows: prepared rows that importance is measured on.

    Raises:
        StepError: no channel would be removed.
    """
    name, blocks = feed_forwards(model)
    width = blocks[0].writer.in_features
    count = max(1, round((1 - ratio) * width / multiple_of)) * multiple_of
    if count >= width:
        raise StepError(
            f"compression.prune-structured.ratio: {ratio:g} removes none of {width} channels in multiples of "
            f"{multiple_of}; raise compression.prune-structured.ratio, or set "
            "compression.prune-structured.multiple_of=1"
        )
    for block, scores in zip(blocks, importance(model, task, rows, blocks), strict=True):
        block.cut(scores.topk(count).indices.sort().values)
    setattr(model.config, name, count)


def cut_heads(model: Any, ratio: float, task: "Task", rows: "Sequence[Example]") -> None:
    """Remove about the share *ratio* of the key-value heads and their query heads, in place.

    transformers requires that the number of query heads divides the hidden size, so the nearest number that
    does is used.

    Raises:
        StepError: no head can be removed.
    """
    import torch

    blocks, config = attentions(model), model.config
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    width = blocks[0].writer.in_features // heads
    shared = heads // groups
    fitting = [count for count in range(1, groups) if config.hidden_size % (count * shared) == 0]
    if not fitting:
        raise StepError(
            f"compression.prune-structured.heads_ratio: none of the model's {groups} key-value heads can be "
            "removed; set compression.prune-structured.heads_ratio=0"
        )
    count = min(fitting, key=lambda heads_left: abs(heads_left - (1 - ratio) * groups))
    for block, scores in zip(blocks, importance(model, task, rows, blocks), strict=True):
        kept = scores.square().view(groups, -1).sum(1).topk(count).indices.sort().values
        queries = (kept[:, None] * shared * width + torch.arange(shared * width)).flatten()
        others = (kept[:, None] * width + torch.arange(width)).flatten()
        block.cut(queries, (queries, others, others))
    config.head_dim = width
    config.num_attention_heads, config.num_key_value_heads = count * shared, count
