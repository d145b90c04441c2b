"""Examples of what a model should be good at, from files; rows are selected by their likeness to them."""

from collections.abc import Iterator
from pathlib import Path

from framework.build.clean import Batch
from framework.build.clean.row_texts import Part, comparable
from framework.build.data.files import Files
from framework.build.data.row_formats import read_row
from framework.build.data.shards import in_shards, read_shards
from framework.core.errors import DataError
from framework.core.source import Source

_BATCH = 1024


def example_texts(sources: tuple[Source, ...], part: Part, key: str) -> Iterator[list[str]]:
    """Yield the texts of the rows of *sources*, in batches.

    Args:
        sources: files or folders in any format and form that ``data=files`` reads.
        part: which of a row's texts.
        key: the config key of the sources, for messages.

    Raises:
        DataError: a row cannot be read, or there is none.
        SourceError: a file is missing.
    """
    texts: list[str] = []
    for line in Files(train=sources, test_fraction=0.0).read("train"):
        if line.problem is not None:
            raise DataError(f"{key}: {line.file}:{line.number}: {line.problem}")
        try:
            row, _ = read_row(line.raw)
        except DataError as error:
            raise DataError(f"{key}: {line.file}:{line.number}: {error}") from None
        texts.append(comparable(row, part))
        if len(texts) == _BATCH:
            yield texts
            texts = []
    if texts:
        yield texts


def row_texts(rows: Path, part: Part) -> Iterator[list[str]]:
    """Yield the texts of the training rows of a folder of shards, in batches."""
    for batch in in_shards(read_shards(rows, "train"), lambda row: len(row.text)):
        yield batch_texts(batch, part)


def batch_texts(batch: Batch, part: Part) -> list[str]:
    """Return the text of each row that is judged."""
    return [comparable(source.row, part) for source in batch]


def require_examples(found: bool, key: str) -> None:
    """Raise ``DataError`` if nothing was *found* under the config key *key*."""
    if not found:
        raise DataError(f"{key}: its files have no row with words; name some rows like those to select")
