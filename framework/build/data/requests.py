"""Rows from a server's request log: what users asked, and the answers that they found good or corrected.

It joins the log's two tables and decides which answers are worth learning. It knows no tokens.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from framework.build.data import Data, Line, LossOn, Split
from framework.core.errors import SourceError
from framework.core.problem import Problem
from framework.core.source import Source
from framework.core.workload import DataSize
from framework.requestlog.log_folder import LogFolder

_TOKENS_GUESSED = 128
_ANSWERS = ("completed", "rating", "correction")


@dataclass(frozen=True)
class _Candidate:
    """A row that could be learned from."""

    line: Line
    prompt: str
    """What was asked, as JSON."""
    rank: tuple[bool, int, str]
    """Of rows with the same prompt the highest is taken: corrected, then better rated, then later."""


class Requests(Data):
    """Logged requests of ``serving.request_log``, joined with users' feedback by the answer's id.

    A correction takes the place of its answer. Without one, an answer is taken if its rating is at least
    ``min_rating`` or its user completed the task, and nothing speaks against it. Of several requests with the
    same prompt one is taken. A row's origin is its file in the log and the number in it.
    """

    log: Source
    """The folder of ``serving.request_log``, or its URL."""
    min_rating: Annotated[int, Field(ge=1, le=5)] = 4
    """Lowest rating of an answer that is learned, if it has one."""
    unrated: bool = False
    """Take answers without feedback too, unless they are empty, cut or repeat themselves. A model that learns
    its own unjudged answers learns nothing new; this is for another, smaller one."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the prompts that are held out, by a hash of the prompt: a prompt never changes its split."""
    loss_on: LossOn = "last_answer"
    """See ``Data.loss_on``: only the last answer was judged, the turns before it are context."""

    def read(self, split: Split) -> Iterator[Line]:
        """Yield the split's rows in the order of the log.

        Raises:
            SourceError: the log cannot be fetched, or the folder has none.
            DataError: a file of the log is damaged.
        """
        for candidate in self._chosen(Counter()):
            held_out = _share_of(candidate.prompt) < self.test_fraction
            if held_out == (split == "test"):
                yield candidate.line

    def left_out(self) -> Mapping[str, int]:
        """Return how many requests are in no split, by reason."""
        reasons: Counter[str] = Counter()
        for _ in self._chosen(reasons):
            pass
        return dict(sorted(reasons.items()))

    def uses(self) -> Mapping[str, str]:
        """Return pyarrow, which reads the log."""
        return {"pyarrow": "parquet"}

    def problems(self) -> list[Problem]:
        """Return that a local folder is no log."""
        try:
            folder = self.log.fetch() if self.log.local else None
        except SourceError:  # a rule of all sources reports it
            return []
        if folder is None or LogFolder(str(folder)).files("requests"):
            return []
        advice = "give the folder of serving.request_log, which has requests/*.parquet"
        return [Problem("log", f"{self.log.url} has no logged request", advice=advice)]

    def when_empty(self, split: Split) -> str:
        """Return what to do where *split* has no rows."""
        return "lower data.min_rating, set data.unrated=true, or wait for more feedback"

    def guess_size(self) -> DataSize:
        """Return the rows of a local log, before its prompts are compared."""
        if not self.log.local:
            return super().guess_size()
        rows = sum(1 for _ in self._chosen(Counter()))
        test = max(1, round(rows * self.test_fraction))
        return DataSize(max(1, rows - test), max(1, rows), test, _TOKENS_GUESSED)

    def _chosen(self, reasons: Counter[str]) -> list[_Candidate]:
        """Return one row for each prompt, in the order of the log; count the others in *reasons*."""
        best: dict[str, _Candidate] = {}
        for candidate in self._candidates(reasons):
            other = best.get(candidate.prompt)
            if other is not None:
                reasons["same prompt as another"] += 1
            if other is None or candidate.rank > other.rank:
                best[candidate.prompt] = candidate
        return sorted(best.values(), key=lambda each: (each.line.file, each.line.number))

    def _candidates(self, reasons: Counter[str]) -> Iterator[_Candidate]:
        folder = LogFolder(str(self.log.fetch()))
        feedback = _by_id(folder)
        for file, number, row in folder.read("requests"):
            said = feedback.pop(row["id"], {})
            if reason := self._against(row, said):
                reasons[reason] += 1
                continue
            correction = said.get("correction")
            raw, prompt = _training_row(row, correction or row["answer"])
            source = "correction" if correction else "answer"
            raw["metadata"] = {"id": row["id"], "digest": row["digest"], "source": source}
            line = Line(file, number, raw, ignore=("metadata",))
            rank = (correction is not None, said.get("rating") or 0, f"{row['time']}/{file}/{number:09}")
            yield _Candidate(line, prompt, rank)
        if feedback:
            reasons["feedback without its request"] += len(feedback)

    def _against(self, row: Mapping[str, Any], said: Mapping[str, Any]) -> str | None:
        """Return why a request is not learned from; None if it is."""
        if row["messages"] is None and row["text"] is None:
            return "no prompt"
        if row["messages"] is None and row["finish_reason"] is not None:
            return "a continued text, and no conversation"
        if said.get("correction"):
            return None
        if row["bad"] or row["finish_reason"] == "length" or not row["answer"]:
            return "bad or cut answer"
        rating, completed = said.get("rating"), said.get("completed")
        if rating is not None and rating < self.min_rating:
            return "rated too low"
        if completed is False:
            return "not completed"
        if rating is None and completed is None and not self.unrated:
            return "no feedback"
        return None


def _by_id(folder: LogFolder) -> dict[str, dict[str, Any]]:
    """Return what was said about each answer; a later report replaces what it says again."""
    said: dict[str, dict[str, Any]] = {}
    for _, _, row in folder.read("feedback"):
        if row["id"] is not None:
            news = {key: row[key] for key in _ANSWERS if row[key] is not None}
            said.setdefault(row["id"], {}).update(news)
    return said


def _training_row(row: Mapping[str, Any], answer: str) -> tuple[dict[str, Any], str]:
    """Return the raw row that teaches *answer*, and its prompt as JSON."""
    if row["messages"] is None:
        return {"text": row["text"], **_labels(answer)}, json.dumps(row["text"])
    turns = json.loads(row["messages"])
    tools = {"tools": json.loads(row["tools"])} if row["tools"] else {}
    prompt = json.dumps([turns, tools], sort_keys=True)
    return {"messages": [*turns, {"role": "assistant", "content": answer}], **tools}, prompt


def _labels(answer: str) -> dict[str, Any]:
    """Return the label, or the labels where the answer is a JSON list of them."""
    try:
        labels = json.loads(answer)
    except ValueError:
        return {"label": answer}
    if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
        return {"labels": labels}
    return {"label": answer}


def _share_of(prompt: str) -> float:
    """Return a number from 0 to 1 that *prompt* alone decides."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8]) / 2**64
