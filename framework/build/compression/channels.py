"""Cutting whole channels and heads out of a model: which matter least, and how the rest stays a model.

It knows layers of transformers by name; neither folders nor how the loss is won back.
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
"""What ``config.json`` calls the width of the feed-forward layers, by the model's type."""

_HEADS = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "granite", "gemma", "gemma2", "gemma3_text")
"""Types whose config says how wide a head is; others divide the hidden size by the number of heads."""


@dataclass(frozen=True)
class Block:
    """Linear layers that share channels: *readers* write them, *writer* reads them and ends the block."""

    readers: "tuple[Linear, ...]"
    writer: "Linear"

    def cut(self, kept: "Tensor", of_readers: "Sequence[Tensor] | None" = None) -> None:
        """Leave the channels *kept* (sorted, int64), or of each reader what *of_readers* says."""
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
        StepError: the architecture is not known to have channels that can be cut.
    """
    kind = model.config.model_type
    if kind not in _FEED_FORWARD:
        raise StepError(
            f"compression.prune-structured: where the channels of a '{kind}' model lie is not known (but of "
            f"{', '.join(sorted(_FEED_FORWARD))}); set compression=prune-unstructured"
        )
    return _FEED_FORWARD[kind], _blocks(model, layers_of(model).feed_forward)


def attentions(model: Any) -> list[Block]:
    """Return the attention blocks: readers are queries, keys and values.

    Raises:
        StepError: the architecture cannot have fewer heads of the same width.
    """
    kind = model.config.model_type
    if kind not in _HEADS:
        raise StepError(
            f"compression.prune-structured.heads_ratio: the config of a '{kind}' model cannot say that "
            "there are fewer heads of the same width; set compression.prune-structured.heads_ratio=0"
        )
    return _blocks(model, layers_of(model).attention)


def _blocks(model: Any, endings: Sequence[str]) -> list[Block]:
    *before, last = endings
    parts: dict[str, list[Any]] = {}
    for ending in before:
        for path, part in named(model, ending):
            parts.setdefault(path.removesuffix(ending), []).append(part)
    writers: dict[str, Any] = {path.removesuffix(last): part for path, part in named(model, last)}
    return [Block(tuple(readers), writers[prefix]) for prefix, readers in parts.items()]


def importance(
    model: Any, task: "Task", rows: "Sequence[Example]", blocks: Sequence[Block]
) -> "list[Tensor]":
    """Return for each block how much its channels add to what the block writes, on *rows*: (channels,).

    That is the norm of a channel's activations times that of the weights which read it: by just this the
    output changes, in norm, if that one channel is left out. It is what Wanda weighs weights by
    (Sun et al., 2023, arXiv:2306.11695), summed over a column.
    """
    import torch

    squares = [torch.zeros(block.writer.in_features, dtype=torch.float64) for block in blocks]
    hooks = []
    for block, total in zip(blocks, squares, strict=True):

        def add(module: Any, given: Any, total: Any = total) -> None:
            total += given[0].detach().flatten(0, -2).double().square().sum(0)

        hooks.append(block.writer.register_forward_pre_hook(add))
    with torch.no_grad():
        for row in rows:  # one by one: padding would be counted
            task.loss(model, task.collate([row], model.config.pad_token_id or 0))
    for hook in hooks:
        hook.remove()
    return [
        total.sqrt() * block.writer.weight.detach().double().norm(dim=0)
        for block, total in zip(blocks, squares, strict=True)
    ]


def cut_channels(model: Any, ratio: float, multiple_of: int, task: "Task", rows: "Sequence[Example]") -> None:
    """Cut the share *ratio* of the channels of every feed-forward layer, in place.

    Args:
        model: float32, on the CPU; its config is changed too.
        ratio: between 0 and 1.
        multiple_of: what the number of channels that stay is a multiple of.
        task: reads *rows*.
        rows: by which channels are weighed.

    Raises:
        StepError: no channel would go.
    """
    name, blocks = feed_forwards(model)
    width = blocks[0].writer.in_features
    count = max(1, round((1 - ratio) * width / multiple_of)) * multiple_of
    if count >= width:
        raise StepError(
            f"compression.prune-structured.ratio: of {width} channels {count} would stay, in multiples of "
            f"{multiple_of}; raise compression.prune-structured.ratio, or set "
            "compression.prune-structured.multiple_of=1"
        )
    for block, scores in zip(blocks, importance(model, task, rows, blocks), strict=True):
        block.cut(scores.topk(count).indices.sort().values)
    setattr(model.config, name, count)


def cut_heads(model: Any, ratio: float, task: "Task", rows: "Sequence[Example]") -> None:
    """Cut about the share *ratio* of the key-value heads, each with the query heads that share it, in place.

    As many stay as divide the hidden size, which transformers asks for, whatever the heads' width.

    Raises:
        StepError: no head can go.
    """
    import torch

    blocks, config = attentions(model), model.config
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    width = blocks[0].writer.in_features // heads
    shared = heads // groups
    fitting = [count for count in range(1, groups) if config.hidden_size % (count * shared) == 0]
    if not fitting:
        raise StepError(
            f"compression.prune-structured.heads_ratio: the model has {groups} key-value heads, none of "
            "which can go; set compression.prune-structured.heads_ratio=0"
        )
    count = min(fitting, key=lambda each: abs(each - (1 - ratio) * groups))
    for block, scores in zip(blocks, importance(model, task, rows, blocks), strict=True):
        kept = scores.square().view(groups, -1).sum(1).topk(count).indices.sort().values
        queries = (kept[:, None] * shared * width + torch.arange(shared * width)).flatten()
        others = (kept[:, None] * width + torch.arange(width)).flatten()
        block.cut(queries, (queries, others, others))
    config.head_dim = width
    config.num_attention_heads, config.num_key_value_heads = count * shared, count
