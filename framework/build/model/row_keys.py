"""A model refuses the keys of a row that it does not learn: none is dropped in silence."""

from framework.build.data.row import Row
from framework.core.errors import DataError

_NEEDS = {
    "label": "requires a model option for classification",
    "labels": "requires a model option for classification with model.problem=multi-label",
    "tokens": "requires a model option for token classification",
    "image": "requires a model option that reads images",
    "rejected": "requires a causal language model and training=dpo",
    "query": "requires a model option for text embedding",
    "tools": "requires a causal language model whose chat template writes tools",
}

_OPTIONAL = ("label", "labels", "image", "tools")
"""Without these keys, a row has a form still."""


def refuse_unread(row: Row, *read: str) -> None:
    """Raise a DataError if *row* has a key with a value that is not in *read*, or is a bad answer.

    A good answer, ``desirable``, can be learned as any other.
    """
    if row.get("desirable") is False and "desirable" not in read:
        raise DataError(
            "the label is false, and this model would learn the bad answer as a good one; KTO requires a "
            "causal language model and training=kto"
        )
    for key, value in row.items():
        if value and key not in ("desirable", *read):
            raise DataError(
                f"this model does not learn '{key}', which {_NEEDS.get(key, 'is for another task')}"
            )
