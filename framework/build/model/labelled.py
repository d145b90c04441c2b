"""From a row with labels to token ids and label numbers, for all encoders alike.

It knows rows and tokenizers; not where a model comes from.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from framework.build.data.row_formats import Row
from framework.build.task import LABEL_MASK
from framework.build.task.bioes import tag_names, to_bioes
from framework.core.error_text import first_line
from framework.core.errors import DataError, StepError
from framework.core.silence_libraries import quiet
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from pathlib import Path

    from framework.core.source import Source


def encode_class(tokenizer: Any, row: Row, labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the text's token ids and, as the only label, the index of its class.

    Raises:
        DataError: the row has no label, or one that is not in *labels*.
    """
    if "text" not in row or "label" not in row:
        raise DataError("classification needs 'text' and 'label'")
    return _ids(tokenizer, row["text"]), [_index(row["label"], labels)]


def encode_classes(tokenizer: Any, row: Row, labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the text's token ids and for each class 1 or 0.

    Raises:
        DataError: the row has no list of labels, or one that is not in *labels*.
    """
    if "text" not in row or not ("labels" in row or "label" in row):
        raise DataError("multi-label classification needs 'text' and 'labels', a list")
    given = row["labels"] if "labels" in row else [row["label"]]
    chosen = {_index(label, labels) for label in given}
    return _ids(tokenizer, row["text"]), [int(index in chosen) for index in range(len(labels))]


def encode_tags(tokenizer: Any, row: Row, entities: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the words' token ids, and for each the word's BIOES tag at its first token, else ``LABEL_MASK``.

    Raises:
        DataError: the row has no tags, they are ill-formed, or a word has no token.
    """
    if "tokens" not in row:
        raise DataError("token classification needs 'tokens' and 'tags'")
    try:
        tags = to_bioes(row["tags"])
    except ValueError as error:
        raise DataError(str(error)) from None
    names = tag_names(entities)
    for tag in tags:
        if tag not in names:
            _index(tag.partition("-")[2], entities, "model.entities")
    encoded = tokenizer(row["tokens"], is_split_into_words=True)
    labels, seen = [], set()
    for word in encoded.word_ids():
        fresh = word is not None and word not in seen
        labels.append(names.index(tags[word]) if fresh else LABEL_MASK)
        seen.add(word)
    if absent := [word for place, word in enumerate(row["tokens"]) if place not in seen]:
        raise DataError(f"the tokenizer drops the token {absent[0]!r}; take it out of 'tokens' and 'tags'")
    return [int(token) for token in encoded["input_ids"]], labels


def write_encoder(
    source: "Source", auto_class: str, names: Sequence[str], output: "Path", seed: int, **config: Any
) -> None:
    """Write an encoder in float32 with a head for *names* drawn from *seed*, and its tokenizer.

    A head of the source's own with as many outputs is kept, one with another number replaced.

    Raises:
        StepError: transformers cannot open the source.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    path = source.fetch()
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = getattr(transformers, auto_class).from_pretrained(
                path, dtype=torch.float32, ignore_mismatched_sizes=True, **label_config(names), **config
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise StepError(f"{source.url}: transformers cannot open it: {first_line(error)}") from error
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def label_config(names: Sequence[str]) -> dict[str, Any]:
    """Return what a config of transformers says of a head's outputs."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text)["input_ids"]]


def _index(label: str, labels: Sequence[str], key: str = "model.labels") -> int:
    if label in labels:
        return labels.index(label)
    guess = nearest(label, labels)
    hint = f"did you mean '{guess}'?" if guess else f"known are {', '.join(labels)}"
    raise DataError(f"label {label!r} is not in {key}; {hint}")
