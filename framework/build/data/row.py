"""The canonical row: the one form that every later stage sees, for each kind of data."""

from typing import Any, TypedDict

from framework.build.data.turns import Message


class Row(TypedDict, total=False):
    """A canonical row: ``messages`` (and ``tools``) for a conversation, ``text`` for a document.

    ``rejected`` is the worse answer of a preference pair; the better one is the conversation's last turn.
    ``desirable`` is KTO's label of the last turn: whether that answer is a good one.
    A document may have a ``label`` or ``labels``, and an ``image``, the path of a file. ``tokens`` are
    words, ``tags`` their tags. ``query`` is answered by ``passage`` and not by ``negatives``.
    """

    messages: list[Message]
    tools: list[dict[str, Any]]
    rejected: str
    desirable: bool
    text: str
    label: str
    labels: list[str]
    image: str
    tokens: list[str]
    tags: list[str]
    query: str
    passage: str
    negatives: list[str]
