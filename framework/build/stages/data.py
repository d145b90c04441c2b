"""Stage ``data``: from raw rows to token ids, with every rejected row named.

Writes, for each split: ``<split>.jsonl`` (canonical rows) and ``<split>.safetensors`` with
``input_ids`` and ``labels`` (1-D int32, all rows end to end) and ``input_lengths`` and
``label_lengths`` (1-D int64, one number a row); where rows have more parts, ``part_2`` (uint8 as it
is, else int32) and ``part_2_lengths``, and so on; besides ``rejected.jsonl`` and ``summary.json``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from framework.build.data import Data, Split
from framework.build.data.row_formats import Row, canonical
from framework.build.engine.model_folder import context_length
from framework.build.model import Encoded, Model
from framework.build.task import open_task
from framework.core.errors import DataError
from framework.core.estimate import DataSize
from framework.core.step import Stage, Workspace

SPLITS: tuple[Split, ...] = ("train", "test")


class PrepareData(Stage):
    """Read, check and tokenise rows."""

    name: ClassVar[str] = "data"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers")
    weight_copies: ClassVar[float] = 0.0

    data: Data
    """The data option."""
    model: Model
    """Says how a row becomes token ids."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Prepare both splits with the tokenizer of input ``model``.

        Raises:
            DataError: a split has no usable row, too many were rejected, or rows may be longer than
                the model sees.
        """
        self._refuse_beyond_model(inputs["model"])
        tokenizer = self.model.tokenizer(inputs["model"])
        rejected: list[dict[str, Any]] = []
        summary: dict[str, Any] = {}
        for split in SPLITS:
            kept = self._prepare(split, tokenizer, output, rejected)
            refused = [entry for entry in rejected if entry["split"] == split]
            summary[split] = {**kept, "rejected": len(refused)}
            if not kept["rows"]:
                first = f"; the first was rejected: {_place(refused[0])}" if refused else ""
                raise DataError(f"data: no usable row in split '{split}'{first}")
        self._refuse_too_many(rejected, summary)
        lines = [json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n" for entry in rejected]
        (output / "rejected.jsonl").write_text("".join(lines), encoding="utf-8")
        (output / "summary.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
        for entry in rejected[:5]:
            print(f"  rejected {_place(entry)}", flush=True)
        if len(rejected) > 5:
            print(f"  … and {len(rejected) - 5} more; all are in rejected.jsonl", flush=True)

    def data_size(self, inputs: Mapping[str, DataSize], folder: Path | None) -> DataSize:
        """Return the numbers of ``summary.json``, or what the data option guesses."""
        if folder is None:
            return self.data.guess_size().within(self.data.max_length)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        train, test = summary["train"], summary["test"]
        return DataSize(train["rows"], train["rows"], test["rows"], train["tokens"] / max(train["rows"], 1))

    def _refuse_beyond_model(self, model: Path) -> None:
        limit = context_length(model)
        if limit is not None and self.data.max_length > limit:
            raise DataError(
                f"data.max_length={self.data.max_length} is more than the {limit} tokens that "
                f"{self.model.name} sees; set data.max_length={limit}"
            )

    def _prepare(
        self, split: Split, tokenizer: Any, output: Path, rejected: list[dict[str, Any]]
    ) -> dict[str, int]:
        encoded: list[Encoded] = []
        with (output / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
            for line in self.data.read(split):
                try:
                    if line.problem is not None:
                        raise DataError(line.problem)
                    row = canonical(line.raw)
                    placed: Row = (
                        {**row, "image": _placed(row["image"], line.folder)} if "image" in row else row
                    )
                    parts = self._fit(*self.model.encode(tokenizer, placed))
                except DataError as error:
                    place = {"file": line.file, "line": line.number, "reason": str(error)}
                    rejected.append({"split": split, **place})
                    continue
                encoded.append(parts)
                stream.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
        _save(encoded, output / f"{split}.safetensors")
        tokens = [len(ids) for ids, *_ in encoded]
        return {"rows": len(encoded), "tokens": sum(tokens), "longest": max(tokens, default=0)}

    def _fit(self, ids: list[int], labels: list[int], *more: Any) -> Encoded:
        limit, task = self.data.max_length, open_task(self.model.task)
        length = task.length(ids, labels)
        others = [len(part) for part in more if isinstance(part, list)]
        if max(others, default=0) > limit:
            raise DataError(
                f"the rejected answer makes {max(others)} tokens, more than data.max_length={limit}"
            )
        if length <= limit:
            return ids, labels, *more
        if self.data.too_long == "reject":
            raise DataError(
                f"{length} tokens, more than data.max_length={limit}; raise it or set data.too_long=truncate"
            )
        shorter = task.cut(ids, labels, limit)
        if shorter is None:
            raise DataError(f"{length} tokens, and cut at {limit} nothing is left to learn from")
        return *shorter, *more

    def _refuse_too_many(self, rejected: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        total = len(rejected) + sum(summary[split]["rows"] for split in SPLITS)
        if len(rejected) <= self.data.max_rejected * total:
            return
        shown = "\n".join(f"  {_place(entry)}" for entry in rejected[:5])
        more = f"\n  … and {len(rejected) - 5} more" if len(rejected) > 5 else ""
        raise DataError(
            f"data: {len(rejected)} of {total} rows were rejected, more than "
            f"data.max_rejected={self.data.max_rejected:g} allows; mend them or raise it:\n{shown}{more}"
        )


def _placed(image: str, folder: Path | None) -> str:
    """Return the whole path of a row's image.

    Raises:
        DataError: it is not below the folder that the rows were read from.
    """
    if folder is None:
        raise DataError(
            "a row with an 'image' must come from a folder, so that the image's bytes are known too; give "
            "the folder with the rows and images as data.train (and data.test)"
        )
    file = (folder / image).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise DataError(f"image {image!r} is no file below the folder of its rows")
    return str(file)


def _place(entry: dict[str, Any]) -> str:
    return f"{entry['file']}:{entry['line']}: {entry['reason']}"


def _save(encoded: list[Encoded], file: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    flat: dict[str, np.ndarray] = {
        "input_ids": np.array([token for ids, *_ in encoded for token in ids], dtype=np.int32),
        "labels": np.array([label for _, labels, *_ in encoded for label in labels], dtype=np.int32),
        "input_lengths": np.array([len(ids) for ids, *_ in encoded], dtype=np.int64),
        "label_lengths": np.array([len(labels) for _, labels, *_ in encoded], dtype=np.int64),
    }
    for place in range(2, max(map(len, encoded), default=0)):
        parts = [np.asarray(row[place]) for row in encoded]
        kind = np.uint8 if parts[0].dtype == np.uint8 else np.int32
        flat[f"part_{place}"] = np.concatenate(parts).astype(kind)
        flat[f"part_{place}_lengths"] = np.array([len(part) for part in parts], dtype=np.int64)
    save_file(flat, file)
