"""CPU time of each cleaning step, and what near-duplicate removal misses, on 20,000 made documents.

A document has 60 to 140 words, drawn as often as natural words are; one in thirty is a number. A tenth are
copies of others with words replaced, at a planned Jaccard similarity. The floor of the ratios is a step that
reads and writes all rows.
The time is that of all threads; what libraries load once is left out by a first run on a few rows.
"""

import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from framework.build.clean import Batch, Clean, Reason, RowClean
from framework.build.clean.column_rules import ColumnRules
from framework.build.clean.decontaminate import Decontaminate
from framework.build.clean.exact import Exact
from framework.build.clean.heuristics import Heuristics
from framework.build.clean.language import Language
from framework.build.clean.near import Near
from framework.build.clean.normalize import Normalize
from framework.build.clean.perplexity import Perplexity
from framework.build.clean.pii import Pii
from framework.build.clean.removals import REMOVED
from framework.build.clean.schema import Schema
from framework.build.clean.substring import Substring
from framework.build.data.rejects import REJECTED
from framework.build.data.shards import SourcedRow, to_json, write_shards, write_summary
from framework.build.stages.clean import CleanRows
from framework.core.step import Workspace

_DOCUMENTS = 20_000
_SIMILARITIES = (0.5, 0.8, 0.9)
# Seconds of one core for 10,000 documents; a ratio over the floor moves with the speed of the disk.
_SECONDS = {"near": 1.0, "pii": 1.0, "heuristics": 2.0}
_MISSED = {0.8: 0.06, 0.9: 0.01}
_WRONG = 0.002


class _Copy(RowClean):
    """The floor: every row is parsed, and stays."""

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        for source in batch:
            source.row  # noqa: B018 - it is parsed
        return list(batch), []


def _steps() -> dict[str, Clean]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    rules = ColumnRules(required=True, pattern=r"[a-z0-9. ]+", max_length=10_000, unique=True)
    return {
        "normalize": Normalize(),
        "heuristics": Heuristics(),
        # Made words are of no language, so all are kept.
        "language": Language(keep=tuple(LanguageIdentifier.from_model_file(MODEL_FILE).labels)),
        "schema": Schema(checks={"text": rules}, max_removed=1),
        "exact": Exact(),
        "near": Near(),
        "pii": Pii(),
        "perplexity": Perplexity(),
        "substring": Substring(),
        "decontaminate": Decontaminate(),
    }


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield seconds for 10,000 documents, ratios to the floor, and shares of missed and wrong removals."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts, planted = _corpus(random.Random(1))
        rows = _written(folder / "rows", texts)
        few = _written(folder / "few", texts[:100])
        floor = _seconds(_Copy(), rows, folder / "floor")
        yield "floor: CPU seconds per 10,000 documents", floor, None
        for step, option in _steps().items():
            _seconds(option, few, folder / f"{step}-first")
            seconds = _seconds(option, rows, folder / step)
            yield f"{step}: CPU seconds per 10,000 documents", seconds, _SECONDS.get(step)
            yield f"{step}: CPU / floor", seconds / floor, None
        yield from _found(folder / "near" / "output" / REMOVED, planted)


def _found(removed: Path, planted: dict[int, float]) -> Iterator[tuple[str, float, float | None]]:
    gone = {json.loads(line)["line"] for line in removed.read_text().splitlines()}
    for similarity in _SIMILARITIES[1:]:
        copies = [line for line, target in planted.items() if target == similarity]
        missed = sum(line not in gone for line in copies) / len(copies)
        yield f"near: share of copies missed at Jaccard {similarity}", missed, _MISSED[similarity]
    kept = [line for line in range(1, _DOCUMENTS + 1) if planted.get(line, 0) < _SIMILARITIES[1]]
    wrong = sum(line in gone for line in kept) / len(kept)
    yield "near: share of other documents removed", wrong, _WRONG


def _seconds(option: Clean, rows: Path, folder: Path) -> float:
    """Return the CPU seconds of the step per 10,000 documents."""
    output, scratch = folder / "output", folder / "scratch"
    output.mkdir(parents=True)
    scratch.mkdir()
    started = time.process_time()
    CleanRows(clean=option, option="measured").run({"rows": rows}, output, Workspace(scratch))
    return (time.process_time() - started) / _DOCUMENTS * 10_000


def _corpus(source: random.Random) -> tuple[list[str], dict[int, float]]:
    """Return the documents, and the similarity of each that is a copy, by its line."""
    vocabulary = ["".join(source.choices("etaoinshrdlu", k=source.randint(2, 9))) for _ in range(30_000)]
    weights = [1 / rank for rank in range(10, 30_010)]
    texts: list[str] = []
    planted = {}
    while len(texts) < _DOCUMENTS:
        if texts and source.random() < 0.1:
            similarity = source.choice(_SIMILARITIES)
            words = source.choice(texts).split()
            # A replaced word changes five n-grams on both sides: J = (n - 5k) / (n + 5k).
            count = max(1, round((len(words) - 4) * (1 - similarity) / (1 + similarity) / 5))
            step = len(words) // (count + 1)
            for number in range(1, count + 1):
                words[step * number] = source.choice(vocabulary)
            planted[len(texts) + 1] = similarity
        else:
            words = source.choices(vocabulary, weights, k=source.randint(60, 140))
            words[11::12] = [f"{word}." for word in words[11::12]]
            words[5::30] = [str(source.randrange(3000)) for _ in words[5::30]]
        texts.append(" ".join(words))
    return texts, planted


def _written(folder: Path, texts: list[str]) -> Path:
    folder.mkdir()
    summary: dict[str, Any] = {}
    for split, rows in (("train", texts), ("test", texts[:5])):
        sourced = (SourcedRow(to_json({"text": text}), "made", line) for line, text in enumerate(rows, 1))
        summary[split] = {**write_shards(folder, split, sourced), "rejected": 0}
    (folder / REJECTED).write_text("")
    write_summary(folder, summary)
    return folder
