"""Stage ``encode``: from canonical rows to token ids with the model's tokenizer, shard by shard."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from framework.build.data import SPLITS, Data, LossOn, Split
from framework.build.data.overlap import find_overlap
from framework.build.data.rejects import Rejects
from framework.build.data.row import Row
from framework.build.data.shards import (
    SourcedRow,
    in_shards,
    read_shards,
    read_summary,
    split_sha256,
    to_json,
    write_shard,
    write_summary,
)
from framework.build.data.token_shards import write_tokens
from framework.build.engine.model_folder import context_length
from framework.build.model import Encoded, Model
from framework.build.model.label_counts import LabelCounts
from framework.build.task import open_task
from framework.core.errors import DataError
from framework.core.step import Stage, Workspace
from framework.core.workload import DataSize

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class _Encoded:
    """A row with its token ids, labels and further parts."""

    source: SourcedRow
    parts: "tuple[np.ndarray, ...]"

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return len(self.source.text) + sum(part.nbytes for part in self.parts)


class EncodeRows(Stage):
    """Tokenize rows; writes the rows that are kept and, beside each shard, ``<shard>.safetensors``.

    For the layout, see ``framework.build.data.shards`` and ``framework.build.data.token_shards``.
    """

    name: ClassVar[str] = "encode"
    version: ClassVar[int] = 4
    libraries: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers")
    weight_copies: ClassVar[float] = 0.0

    model: Model
    """Encodes a row as token ids."""
    max_length: Annotated[int, Field(ge=8)]
    """See ``Data.max_length``."""
    too_long: Literal["reject", "truncate"]
    """See ``Data.too_long``."""
    max_rejected: Annotated[float, Field(ge=0, le=1)]
    """See ``Data.max_rejected``; rows that earlier stages rejected count too."""
    max_overlap: Annotated[float | None, Field(ge=0, le=1)]
    """See ``Data.max_overlap``."""
    loss_on: LossOn = "answers"
    """See ``Data.loss_on``."""

    @classmethod
    def of(cls, data: Data, model: Model) -> Self:
        """Return the stage that encodes the rows of *data* for *model*."""
        return cls(
            model=model,
            max_length=data.max_length,
            too_long=data.too_long,
            max_rejected=data.max_rejected,
            max_overlap=data.max_overlap,
            loss_on=data.loss_on,
        )

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Encode both splits of input ``rows`` with the tokenizer of input ``model``.

        Raises:
            DataError: a split has no usable row, too many rows were rejected or are in both splits, or
                ``max_length`` exceeds the model's context.
        """
        self._require_context(inputs["model"])
        tokenizer = self.model.tokenizer(inputs["model"])
        overlap = find_overlap(inputs["rows"])
        overlap.require(self.max_overlap)
        summary: dict[str, dict[str, Any]] = {}
        labels, kept = LabelCounts(self.model.classes), Counter[Split]()
        with Rejects(output, inputs["rows"]) as rejects:
            for split in SPLITS:
                encoded = self._encode(inputs["rows"], split, tokenizer, rejects, labels, kept)
                written = _write(output, split, encoded)
                rejects.require_rows(split, written["rows"])
                counts = {"sources": kept[split], "rejected": rejects.count(split)}
                summary[split] = {**written, **counts, **labels.summary(split)}
            # Rows that were read, as the rejected ones are: a conversation may have become several here.
            rejects.require_shares(self.max_rejected, {split: kept[split] for split in SPLITS})
        summary["test"]["in_train"] = overlap.count
        write_summary(output, summary)
        rejects.report()
        labels.report()

    def data_size(self, inputs: Mapping[str, DataSize], folder: Path | None) -> DataSize:
        """Return the numbers of ``summary.json``, or the rows of input ``rows`` within ``max_length``."""
        if folder is None:
            return inputs["rows"].within(self.max_length)
        summary = read_summary(folder)
        train, test = summary["train"], summary["test"]
        return DataSize(train["rows"], train["rows"], test["rows"], train["tokens"] / max(train["rows"], 1))

    def _require_context(self, model: Path) -> None:
        context = context_length(model)
        if context is not None and self.max_length > context:
            raise DataError(
                f"data.max_length={self.max_length} exceeds the context of {self.model.name}, {context} "
                f"tokens; set data.max_length={context}"
            )

    def _encode(
        self,
        folder: Path,
        split: Split,
        tokenizer: Any,
        rejects: Rejects,
        labels: LabelCounts,
        kept: Counter[Split],
    ) -> Iterator[_Encoded]:
        """Yield the encoded rows of *split*; count in *kept* the rows of which nothing was rejected."""
        expected: int | None = None
        sources = rows = 0
        for source in read_shards(folder, split):
            try:
                encoded = self._rows_of(source, split, tokenizer)
                expected = expected or len(encoded[0])
                if len(encoded[0]) != expected:
                    raise DataError(
                        "preferences, answers with a label and other rows cannot be mixed; give 'rejected', "
                        "or 'label', in all rows or none"
                    )
            except DataError as error:
                rejects.add(split, source.file, source.line, str(error))
                continue
            fitting, reason = self._fitting(encoded)
            if reason:
                rejects.add(split, source.file, source.line, reason)
            if not fitting:
                continue
            labels.add(split, source.row)
            kept[split] += not reason
            sources, rows = sources + 1, rows + len(fitting)
            # Sorted keys: the digest of the data must not depend on the order of a row's keys.
            # Images are in the parts already, so the artifact needs no copy of them.
            stored = replace(source, text=to_json(source.row, sort_keys=True), image=None)
            yield from (_Encoded(stored, tuple(_as_array(part) for part in parts)) for parts in fitting)
        if rows > sources:
            reason = "so that each follows the prompt that a server sends"
            print(f"  {split}: {sources} conversations gave {rows} rows, one an answer, {reason}", flush=True)

    def _fitting(self, encoded: list[Encoded]) -> tuple[list[tuple[Any, ...]], str]:
        """Return the encoded rows of one source that are within the limit, and why others are not."""
        fitting, reasons = [], []
        for parts in encoded:
            try:
                fitting.append(self._within_limit(*parts))
            except DataError as error:
                reasons.append(str(error))
        if not reasons:
            return fitting, ""
        of = f"{len(reasons)} of its {len(encoded)} answers: " if len(encoded) > 1 else ""
        return fitting, of + reasons[0]

    def _rows_of(self, source: SourcedRow, split: Split, tokenizer: Any) -> list[Encoded]:
        row = source.row
        located: Row = {**row, "image": str(source.image)} if source.image else row
        # Held-out rows are measured on answers: a prompt is given, not predicted.
        measured = "answers" if split == "test" and self.loss_on == "all" else self.loss_on
        return self.model.encode(tokenizer, located, measured)

    def _within_limit(self, ids: list[int], labels: list[int], *more: Any) -> tuple[Any, ...]:
        """Return the parts of a row, cut where ``too_long`` allows it.

        Raises:
            DataError: the row is longer than ``max_length``.
        """
        limit, task = self.max_length, open_task(self.model.task)
        length = task.length(ids, labels)
        others = [len(part) for part in more if isinstance(part, list)]
        if max(others, default=0) > limit:
            raise DataError(
                f"with the rejected answer, {max(others)} tokens, more than data.max_length={limit}; raise it"
            )
        if length <= limit:
            return ids, labels, *more
        if self.too_long == "reject":
            raise DataError(
                f"{length} tokens, more than data.max_length={limit}; raise it or set data.too_long=truncate"
            )
        shorter = task.cut(ids, labels, limit)
        if shorter is None:
            raise DataError(
                f"{length} tokens; truncated to data.max_length={limit}, no label is left to learn from"
            )
        return *shorter, *more


def _write(output: Path, split: Split, rows: Iterator[_Encoded]) -> dict[str, Any]:
    """Write the shards of *split*; return its counts and digest for the summary."""
    count = tokens = longest = 0
    for number, shard in enumerate(in_shards(rows, lambda row: row.size)):
        file = write_shard(output, split, number, [row.source for row in shard])
        write_tokens(file.with_suffix(".safetensors"), [row.parts for row in shard])
        lengths = [len(row.parts[0]) for row in shard]
        count += len(lengths)
        tokens += sum(lengths)
        longest = max(longest, *lengths)
    return {"rows": count, "tokens": tokens, "longest": longest, "sha256": split_sha256(output, split)}


def _as_array(part: Any) -> "np.ndarray":
    """Return a part of a row as it is stored: bytes of pixels as they are, everything else as int32."""
    import numpy as np

    array = np.asarray(part)
    return array if array.dtype == np.uint8 else array.astype(np.int32)
