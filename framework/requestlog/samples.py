"""Samples of the rows of a log, and of training rows, for ``framework.requestlog.drift``."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from framework.requestlog.drift import Sample, words


def sample_of(row: Mapping[str, Any]) -> Sample:
    """Return the sample of a row of the log's ``requests``."""
    bad = row["bad"] is not None
    if row["messages"] is None and row["finish_reason"] is None:
        return Sample(words(row["text"] or ""), None, row["answer"], bad)
    if row["messages"] is None:
        return Sample(words(row["text"] or ""), words(row["answer"] or ""), None, bad)
    return conversation(json.loads(row["messages"]), row["answer"] or "", bad=bad)


def conversation(turns: Iterable[Mapping[str, Any]], answer: str, *, bad: bool = False) -> Sample:
    """Return the sample of an answer to *turns*: only what the user wrote last counts as the prompt."""
    asked = [str(turn.get("content") or "") for turn in turns if turn.get("role") == "user"]
    return Sample(words(asked[-1] if asked else ""), words(answer), None, bad)


def training_sample(row: Mapping[str, Any]) -> Sample | None:
    """Return the sample of a canonical training row; None if it is of a kind that no server answers."""
    if "messages" in row:
        return conversation(row["messages"][:-1], row["messages"][-1]["content"])
    if "label" in row:
        return Sample(words(row["text"]), None, row["label"])
    if "labels" in row:
        return Sample(words(row["text"]), None, json.dumps(row["labels"]))
    return None
