"""Read preferences, as TRL, Axolotl and LLaMA-Factory write them.

A pair is a better and a worse answer; a single answer has a label that says whether it is a good one (KTO).
"""

from collections.abc import Mapping
from typing import Any

from framework.build.data.row_values import is_missing, require_text
from framework.build.data.turns import Message, read_turn, read_turns, spoken, turn_of
from framework.core.errors import DataError

LABELS = ("label", "kto_tag")
"""TRL's and LLaMA-Factory's key of a conversation's label."""


def turns_or_text(value: Any, key: str, role: str, unused: set[str]) -> list[Message]:
    """Read the value of *key*: a list of turns, one turn, or the text of a turn of *role*.

    Raises:
        DataError: it is none of these, or a turn is broken.
    """
    if isinstance(value, Mapping):
        return spoken([read_turn(value, key, key, unused)])
    if isinstance(value, list | tuple):
        return read_turns(value, key, unused)
    return [turn_of(role, require_text(value, key))]


def read_pair(row: Mapping[str, Any], given: list[Message], unused: set[str]) -> tuple[list[Message], str]:
    """Return the conversation that ends in the better answer, and the worse answer's text.

    An answer is text, one assistant turn, or a whole conversation. Two whole conversations must be equal
    up to their last turn; what they share is the prompt. Without ``chosen``, *given* is the better
    conversation.

    Args:
        row: has ``rejected``, and may have ``chosen``.
        given: the turns before the answers; empty where whole conversations hold them.
        unused: gets the keys of turns that are not read.

    Raises:
        DataError: the prompt is missing or ambiguous, or the answers are not a pair.
    """
    if is_missing(row.get("rejected")):
        raise DataError("'chosen' without 'rejected'; a preference needs both answers")
    worse = turns_or_text(row["rejected"], "rejected", "assistant", unused)
    if not is_missing(row.get("chosen")):
        better = turns_or_text(row["chosen"], "chosen", "assistant", unused)
    elif not given or given[-1]["role"] != "assistant":
        raise DataError("'rejected' without a better answer: no 'chosen', and the turns do not end with one")
    elif len(worse) == 1:
        given, better = given[:-1], given[-1:]
    else:
        given, better = [], given
    if better == worse:
        raise DataError("chosen and rejected are equal; a preference needs two different answers")
    if len(better) == len(worse) == 1:
        answer = _answer(better[0], "chosen")
        given = given[:-1] if given[-1:] == better else given
        if not given:
            raise DataError("no prompt; give 'prompt', or whole conversations in 'chosen' and 'rejected'")
        if given[-1]["role"] == "assistant":
            raise DataError("the turns before chosen and rejected end with an answer of the assistant's")
        return [*given, answer], _text(worse[0])
    if not better or not worse or better[:-1] != worse[:-1]:
        raise DataError(f"chosen and rejected differ before their last turn: {_difference(better, worse)}")
    # The prompt may be told twice, such as the question beside whole conversations: nothing is lost then.
    if any(turn not in better for turn in given):
        raise DataError("the prompt is not among the turns that chosen and rejected share; leave one out")
    return [*better[:-1], _answer(better[-1], "chosen")], _text(worse[-1])


def read_label(row: Mapping[str, Any], turns: list[Message]) -> bool | None:
    """Return whether the last of *turns* is a good answer, by ``label`` or ``kto_tag``; None without a label.

    Raises:
        DataError: the label is not a boolean, or it is about no answer to a prompt.
    """
    labels = {key: row[key] for key in LABELS if not is_missing(row.get(key))}
    for key, value in labels.items():
        if not isinstance(value, bool):
            raise DataError(f"{key} of a conversation must be true or false, as in KTO, not {value!r}")
    if len({*labels.values()}) > 1:
        raise DataError("label and kto_tag contradict each other; keep one")
    if labels and "train" in turns[-1]:
        raise DataError("the last turn is not to be learned, but the label is about it")
    if labels and all(turn["role"] == "system" for turn in turns[:-1]):
        raise DataError("an answer with a label, but without a prompt")
    return next(iter(labels.values()), None)


def _difference(better: list[Message], worse: list[Message]) -> str:
    pairs = enumerate(zip(better[:-1], worse[:-1], strict=False), 1)
    first = next((number for number, (one, other) in pairs if one != other), None)
    if first is None:
        return f"{len(better)} turns and {len(worse)}"
    return f"turn {first} is not the same"


def _answer(turn: Message, name: str) -> Message:
    if turn["role"] != "assistant":
        raise DataError(f"the last turn of {name} must be the assistant's, not the {turn['role']}'s")
    if "train" in turn:
        raise DataError(f"the last turn of {name} is not to be learned, but a preference is about it")
    return turn


def _text(turn: Message) -> str:
    """Return the worse answer; it can only be text, since a row stores no more of it."""
    if extra := sorted(set(_answer(turn, "rejected")) - {"role", "content"}):
        raise DataError(f"the last turn of rejected has '{extra[0]}'; a rejected answer can only be text")
    return turn["content"]
