"""Attention over rows that lie end to end in one sequence: every row sees itself alone.

A padded batch spends over half of its work on padding where lengths are heavy-tailed. Packed, rows
are one sequence of T tokens whose positions restart, and attention runs per row: a loop of causal
SDPA on the CPU, one variable-length flash kernel on a GPU. Either way the result is that of the rows
one by one. The model's own code is unchanged: transformers asks for attention by name.
"""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor

NAME = "gitune_packed"
"""What transformers knows this attention by."""


def can_pack(model: Any) -> bool:
    """Tell whether rows of *model* may be packed.

    Its attention must be replaceable by name and without soft-capped or dropped scores, and nothing may
    stand before a row, as the virtual tokens of prompt tuning do.
    """
    config = model.config
    adapters = getattr(model, "peft_config", {}).values()
    return bool(
        getattr(model, "_supports_attention_backend", False)
        and not any(adapter.is_prompt_learning for adapter in adapters)
        and getattr(config, "attn_logit_softcapping", None) is None
        and getattr(config, "attention_dropout", 0.0) in (None, 0, 0.0)
    )


def use_packed_attention(model: Any) -> None:
    """Let *model* attend within rows; its batches must then carry ``cu_seq_lens_q``."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    model.set_attn_implementation(NAME)


def packed_attention(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: "Tensor | None" = None,
    max_length_q: int = 0,
    **unused: Any,
) -> "tuple[Tensor, None]":
    """Attend within each row.

    Args:
        module: the layer that asks.
        query: (1, heads, T, width).
        key: (1, key heads, T, width); key heads divide heads.
        value: like *key*.
        attention_mask: None; the rows' ends say all.
        scaling: what scores are multiplied by; None is ``width ** -0.5``.
        sliding_window: how many tokens back a token sees, itself included; None is all.
        cu_seq_lens_q: int32 (rows + 1,), the rows' first tokens and T.
        max_length_q: tokens of the longest row; known beforehand, so that a GPU need not be asked.
        unused: what other layers of transformers pass on.

    Returns:
        (1, T, heads, width), and None for the scores, which are never whole.
    """
    import torch

    if cu_seq_lens_q is None:  # a call outside training, such as a sample of one row
        max_length_q = query.shape[2]
        cu_seq_lens_q = torch.tensor([0, max_length_q], dtype=torch.int32, device=query.device)
    grouped = key.shape[1] != query.shape[1]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        window = (sliding_window - 1 if sliding_window else -1, 0)
        found = varlen_attn(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=window,
            enable_gqa=grouped,
        )
        return cast("Tensor", found)[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    by_row = [torch.split(tensor, lengths, 2) for tensor in (query, key, value)]
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            q, k, v, scale=scaling, enable_gqa=grouped, **_mask(length, sliding_window, query.device)
        )
        for length, q, k, v in zip(lengths, *by_row, strict=True)
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


def _mask(length: int, window: int | None, device: Any) -> dict[str, Any]:
    """Return how SDPA is told what a token of a row of *length* sees."""
    import torch

    if window is None or length <= window:
        return {"is_causal": True}
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return {"attn_mask": seen.triu(1 - window)}
