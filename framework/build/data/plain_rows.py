"""Raw rows without turns: documents, tokens with tags, and queries with passages."""

from collections.abc import Mapping
from typing import Any

from framework.build.data.row import Row
from framework.build.data.row_values import is_missing, kind_of, require_text, require_texts
from framework.core.errors import DataError

_QUERY, _PASSAGE = ("query", "anchor"), ("passage", "positive")
NEGATIVES = ("negative", "negatives")
"""Keys of passages that do not answer the query: one, or a list."""


def read_text(raw: Mapping[str, Any], unused: set[str]) -> Row:
    """Return the row of a document, with its label or labels and its image if it has them.

    Args:
        raw: the row; its required keys are there.
        unused: gets keys of turns that are not used, of which these forms have none.

    Raises:
        DataError: a value is broken.
    """
    row: Row = {"text": require_text(raw["text"], "text")}
    if "label" in raw:
        label = raw["label"]
        if isinstance(label, float):
            raise DataError(f"label is {label}, a decimal number; write the class as text or as an integer")
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise DataError(f"label must be text or an integer, not {kind_of(label)}")
        row["label"] = require_text(str(label), "label").strip()
    if "image" in raw:
        row["image"] = require_text(raw["image"], "image")
    if "labels" in raw:
        if "label" in raw:
            raise DataError("both 'label' and 'labels'; use 'label' for one class, 'labels' for any number")
        row["labels"] = [label.strip() for label in require_texts(raw["labels"], "labels")]
    return row


def read_tokens(raw: Mapping[str, Any], unused: set[str]) -> Row:
    """Return the row of words and their tags; see ``read_text``."""
    tokens, tags = require_texts(raw["tokens"], "tokens"), require_texts(raw["tags"], "tags")
    if not tokens:
        raise DataError("empty tokens")
    if len(tokens) != len(tags):
        raise DataError(f"{len(tokens)} tokens but {len(tags)} tags; give one tag per token")
    return {"tokens": tokens, "tags": tags}


def read_retrieval(raw: Mapping[str, Any], unused: set[str]) -> Row:
    """Return the row of a query and its passage; see ``read_text``."""
    query, passage = (next(raw[key] for key in keys if key in raw) for keys in (_QUERY, _PASSAGE))
    row: Row = {"query": require_text(query, "query"), "passage": require_text(passage, "passage")}
    negatives = []
    if not is_missing(raw.get("negative")):
        negatives.append(require_text(raw["negative"], "negative"))
    if not is_missing(raw.get("negatives")):
        negatives += require_texts(raw["negatives"], "negatives")
    if row["passage"] in negatives:
        raise DataError("a negative equals the passage; a negative does not answer the query")
    return {**row, "negatives": negatives} if negatives else row
