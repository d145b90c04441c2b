"""Convert labeled rows to token ids and label indices, and write encoders with a classification head.

Knows rows and tokenizers; not the kind of encoder.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from framework.build.data.row import Row
from framework.build.model.row_keys import refuse_unread
from framework.build.task import LABEL_MASK
from framework.build.task.bioes import tag_names, to_bioes
from framework.core.error_text import first_line
from framework.core.errors import DataError, StepError
from framework.core.silence_libraries import quiet
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from pathlib import Path

    from framework.core.source import Source


def _as_text(value: Any) -> Any:
    """Turn integers into the text that rows with integers as labels have.

    Raises:
        PydanticCustomError: a label is a truth value or has a fraction, as YAML reads ``yes`` and ``1.0``.
    """
    if not isinstance(value, list | tuple):
        return value
    for label in value:
        if isinstance(label, bool | float):
            raise PydanticCustomError(
                "label_type", "{label} is no text; quote the label as the rows have it", {"label": label}
            )
    return [str(label) if isinstance(label, int) else label for label in value]


def _require_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise PydanticCustomError(
            "repeated_label", "'{name}' is there more than once; name each class once", {"name": repeated[0]}
        )
    return names


ClassNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_text, json_schema_input_type=list[str | int]),
    AfterValidator(_require_distinct),
]
"""Distinct labels. A rule of the plan requires them, and proposes those of the training rows."""


def encode_class(tokenizer: Any, row: Row, labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the text's token ids, and the index of its class as the only label.

    Raises:
        DataError: the row has no label, an image, or a label that is not in *labels*.
    """
    if "text" not in row or "label" not in row:
        raise DataError("classification needs 'text' and 'label'")
    refuse_unread(row, "text", "label")
    return _ids(tokenizer, row["text"]), [_index(row["label"], labels)]


def encode_classes(tokenizer: Any, row: Row, labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the text's token ids, and 1 or 0 for each class.

    Raises:
        DataError: the row has no labels, an image, or a label that is not in *labels*.
    """
    if "text" not in row or not ("labels" in row or "label" in row):
        raise DataError("multi-label classification needs 'text' and 'labels', a list")
    refuse_unread(row, "text", "label", "labels")
    row_labels = row["labels"] if "labels" in row else [row["label"]]
    indices = {_index(label, labels) for label in row_labels}
    return _ids(tokenizer, row["text"]), [int(index in indices) for index in range(len(labels))]


def encode_tags(tokenizer: Any, row: Row, entities: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the words' token ids and one label per token.

    The label of a word's first token is its BIOES tag; all others are ``LABEL_MASK``.

    Raises:
        DataError: the row has no tags or invalid ones, or the tokenizer drops a word.
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
    for index in encoded.word_ids():
        first = index is not None and index not in seen
        labels.append(names.index(tags[index]) if first else LABEL_MASK)
        seen.add(index)
    if dropped := [word for index, word in enumerate(row["tokens"]) if index not in seen]:
        raise DataError(f"the tokenizer drops the word {dropped[0]!r}; remove it from 'tokens' and 'tags'")
    return [int(token) for token in encoded["input_ids"]], labels


def write_encoder(
    source: "Source", auto_class: str, names: Sequence[str] | None, output: "Path", seed: int, **config: Any
) -> None:
    """Write an encoder in float32 with a head for the labels *names*, if there are any, and its tokenizer.

    A head of the source is kept if its number of outputs matches; otherwise it is initialized from *seed*.

    Raises:
        StepError: transformers cannot open the source, or it has a decoder too, without a head.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    path, labels = source.fetch(), {} if names is None else label_config(names)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = getattr(transformers, auto_class).from_pretrained(
                path, dtype=torch.float32, ignore_mismatched_sizes=True, **labels, **config
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise StepError(
            f"model.source: transformers cannot open {source.url}: {first_line(error)}"
        ) from error
    if names is None and model.config.is_encoder_decoder:
        raise StepError(f"model.source: {source.url} has a decoder; choose an encoder, such as a BERT")
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def label_config(names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a transformers config that describe a head's outputs."""
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
    # Labels differ in case, or were numbers with a fraction in a table with gaps.
    alike = {name.casefold(): name for name in labels}
    guess = alike.get(label.casefold().removesuffix(".0")) or nearest(label, labels)
    hint = f"did you mean '{guess}'?" if guess else f"known are {', '.join(labels)}"
    raise DataError(f"label {label!r} is not in {key}; {hint}")
