"""Batches for encoders, padded on the right. It knows no labels."""

from collections.abc import Sequence

from framework.build.task import Batch, Example


def padded_right(rows: Sequence[Example], pad: int) -> Batch:
    """Return ``input_ids`` and ``attention_mask``, both (rows, T) with T tokens in the longest row."""
    from torch import ones_like
    from torch.nn.utils.rnn import pad_sequence

    ids = [ids for ids, *_ in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([ones_like(row) for row in ids], batch_first=True),
    }
