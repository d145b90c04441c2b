"""Which texts of a canonical row a cleaning rule looks at, and how they are replaced.

It knows every kind of row that ``framework.build.data.row_formats`` writes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from framework.build.data.row import Row
from framework.build.data.shards import SourcedRow, to_json
from framework.build.data.turns import Message

Part = Literal["all", "prompt", "answer"]
"""``answer`` is what is learned: the assistant's turns without ``train: false``, and the ``rejected`` answer
of a preference. ``prompt`` is every other turn. A document, a text with a label and a row of tokens have one
text, which is in each of the three. A query is a prompt, its passage and the negatives are answers."""

Change = Callable[[str], str]


def texts_of(row: Row, part: Part) -> list[str]:
    """Return the texts of *part* that are not empty; tool calls are left out."""
    if "messages" in row:
        turns = [turn for turn in row["messages"] if part == "all" or _is_answer(turn) == (part == "answer")]
        texts = [text for turn in turns for text in (turn.get("reasoning_content", ""), turn["content"])]
        rejected = [] if part == "prompt" else [row.get("rejected", "")]
        return [text for text in (*texts, *rejected) if text]
    if "query" in row:
        passages = [row["passage"], *row.get("negatives", ())]
        return ([] if part == "answer" else [row["query"]]) + ([] if part == "prompt" else passages)
    return [" ".join(row["tokens"])] if "tokens" in row else [row["text"]]


def comparable(row: Row, part: Part) -> str:
    """Return everything in *part* that sets rows apart: its texts, and the tool calls as JSON."""
    if "messages" not in row:
        return "\n".join(texts_of(row, part))
    calls = [
        json.dumps(turn["tool_calls"], sort_keys=True, ensure_ascii=False)
        for turn in row["messages"]
        if "tool_calls" in turn and (part == "all" or _is_answer(turn) == (part == "answer"))
    ]
    return "\n".join([*texts_of(row, part), *calls])


def target_of(source: SourcedRow, row: Row) -> str:
    """Return what else a row teaches or shows: label, tags, judgment and image. Empty where it has none."""
    keys = ("label", "labels", "tags", "desirable")
    target = {key: row[key] for key in keys if key in row}  # type: ignore[literal-required]
    if source.image is not None:
        target["image"] = source.image.stem  # the copy is named by the digest of its bytes
    return json.dumps(target, sort_keys=True) if target else ""


def rewritten(source: SourcedRow, part: Part, change: Change, *, calls: bool = False) -> SourcedRow:
    """Return the row with every text of *part* passed through *change*; the same object if none changes.

    A text that would become blank stays as it is, since a row must not lose a turn.

    Args:
        source: the row.
        part: which texts.
        change: returns the new text.
        calls: whether texts in the arguments of tool calls change, too.
    """
    row = source.row

    def kept(text: str) -> str:
        new = change(text)
        return new if new.strip() else text

    new: dict[str, Any] = dict(row)
    if "messages" in row:
        new["messages"] = [
            _turn(turn, kept, calls) if part == "all" or _is_answer(turn) == (part == "answer") else turn
            for turn in row["messages"]
        ]
        if "rejected" in row and part != "prompt":
            new["rejected"] = kept(row["rejected"])
    elif "tokens" in row:
        new["tokens"] = [kept(token) for token in row["tokens"]]
    elif "query" in row:
        if part != "answer":
            new["query"] = kept(row["query"])
        if part != "prompt":
            new["passage"] = kept(row["passage"])
            if "negatives" in row:
                new["negatives"] = [kept(text) for text in row["negatives"]]
    else:
        new["text"] = kept(row["text"])
    return source if new == row else replace(source, text=to_json(cast(Row, new)))


def is_document(source: SourcedRow) -> bool:
    """Tell whether the row is nothing but a text, so that it can be cut and joined."""
    return source.image is None and source.row.keys() == {"text"}


def excerpt(source: SourcedRow, length: int = 240) -> str:
    """Return the beginning of the row's texts in one line, for a report."""
    line = " ".join(" ".join(texts_of(source.row, "all")).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _is_answer(turn: Message) -> bool:
    return turn["role"] == "assistant" and turn.get("train", True)


def _turn(turn: Message, change: Change, calls: bool) -> Message:
    new = turn.copy()
    new["content"] = change(turn["content"])
    if "reasoning_content" in turn:
        new["reasoning_content"] = change(turn["reasoning_content"])
    if calls and "tool_calls" in turn:
        new["tool_calls"] = [
            {
                **call,
                "function": {**call["function"], "arguments": _values(call["function"]["arguments"], change)},
            }
            for call in turn["tool_calls"]
        ]
    return new


def _values(value: Any, change: Change) -> Any:
    """Return JSON data with every text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _values(item, change) for key, item in value.items()}
    return [_values(item, change) for item in value] if isinstance(value, list) else value
