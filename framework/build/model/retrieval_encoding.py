"""Convert rows of a query and its passages to token ids. It knows rows and tokenizers, not the encoder."""

from typing import Any

from framework.build.data.row import Row
from framework.build.model.row_keys import refuse_unread
from framework.build.task.text_embedding import joined
from framework.core.errors import DataError


def encode_texts(tokenizer: Any, row: Row) -> tuple[list[int], list[int]]:
    """Return the token ids of the query, its passage and the negatives, and the number of each token's text.

    Raises:
        DataError: the row has no query, keys of another task, or a text without a token.
    """
    if "query" not in row:
        raise DataError("text embedding needs 'query' and 'passage'")
    refuse_unread(row, "query", "passage", "negatives")
    texts = [row["query"], row["passage"], *row.get("negatives", ())]
    encoded = [[int(token) for token in tokenizer(text)["input_ids"]] for text in texts]
    if empty := [text for text, ids in zip(texts, encoded, strict=True) if not ids]:
        raise DataError(f"the tokenizer finds no token in {empty[0]!r}")
    return joined(encoded)
