"""Attention over rows packed end to end into one sequence, in which each row attends only to itself.

With heavy-tailed lengths, a padded batch spends over half of its work on padding. Packed rows are one
sequence of T tokens whose positions restart. Attention runs per row: a loop of causal SDPA on the CPU, one
variable-length flash kernel on a GPU. The result equals attention over each row alone. The model's code is
unchanged, since transformers looks attention up by name.
"""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor

NAME = "gitune_packed"
"""The name of this attention in transformers."""


def can_pack(model: Any) -> bool:
    """Return whether rows of *model* can be packed.

    Its attention must be replaceable by name, without soft-capping or dropout. No virtual tokens, such as
    those of prompt tuning, may precede a row.
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
    """Make *model* attend within rows. Its batches then need ``cu_seq_lens_q``."""
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
        module: the calling layer.
        query: (1, heads, T, width).
        key: (1, key heads, T, width); key heads divide heads.
        value: same shape as *key*.
        attention_mask: None; the rows' boundaries replace it.
        scaling: multiplies the scores; None means ``width ** -0.5``.
        sliding_window: number of last tokens a token attends to, itself included; None means all.
        cu_seq_lens_q: int32 (rows + 1,), cumulative row lengths: 0, ..., T. None means one row.
        max_length_q: tokens of the longest row; passed in to avoid a synchronization with the GPU.
        unused: other arguments that transformers passes.

    Returns:
        (1, T, heads, width), and None for the scores, which are never materialized.
    """
    import torch

    if cu_seq_lens_q is None:  # a call outside training, such as a sample of one row
        max_length_q = query.shape[2]
        cu_seq_lens_q = torch.tensor([0, max_length_q], dtype=torch.int32, device=query.device)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        attended = _varlen_attention(query, key, value, cu_seq_lens_q, max_length_q, scaling, sliding_window)
    else:
        attended = _attention_by_row(query, key, value, cu_seq_lens_q, scaling, sliding_window)
    return attended, None


def _varlen_attention(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    boundaries: "Tensor",
    max_length: int,
    scaling: float | None,
    window: int | None,
) -> "Tensor":
    """Return the attention of all rows, computed by one flash kernel; see ``packed_attention``."""
    from torch.nn.attention.varlen import varlen_attn

    attended = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        boundaries,
        boundaries,
        max_length,
        max_length,
        scale=scaling,
        window_size=(window - 1 if window else -1, 0),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return cast("Tensor", attended)[None]


def _attention_by_row(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    boundaries: "Tensor",
    scaling: float | None,
    window: int | None,
) -> "Tensor":
    """Return the attention of all rows, computed row by row; see ``packed_attention``."""
    import torch

    grouped = key.shape[1] != query.shape[1]
    lengths = boundaries.diff().tolist()
    rows = [torch.split(tensor, lengths, 2) for tensor in (query, key, value)]
    attended = [
        torch.nn.functional.scaled_dot_product_attention(
            q, k, v, scale=scaling, enable_gqa=grouped, **_mask(length, window, query.device)
        )
        for length, q, k, v in zip(lengths, *rows, strict=True)
    ]
    return torch.cat(attended, 2).transpose(1, 2)


def _mask(length: int, window: int | None, device: Any) -> dict[str, Any]:
    """Return SDPA's mask arguments for a row of *length* tokens."""
    import torch

    if window is None or length <= window:
        return {"is_causal": True}
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return {"attn_mask": causal.triu(1 - window)}
