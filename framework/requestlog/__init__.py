"""What servers keep of their requests and of users' feedback: its form, and what is learned from it.

A log is a folder, here or at any URL that fsspec opens, with Parquet files below ``requests/`` and
``feedback/``. ``framework.serving`` writes it. It knows neither servers nor models.
"""

from typing import Literal

Table = Literal["requests", "feedback"]

TEXT, INTEGER, FLAG, NUMBER, TIME = "string", "int64", "bool", "double", "timestamp"

COLUMNS: dict[Table, dict[str, str]] = {
    "requests": {
        "id": TEXT,
        "time": TIME,
        "release": TEXT,
        "digest": TEXT,
        "adapter": TEXT,
        "route": TEXT,
        "caller": TEXT,
        "messages": TEXT,
        "tools": TEXT,
        "text": TEXT,
        "answer": TEXT,
        "score": NUMBER,
        "prompt_tokens": INTEGER,
        "completion_tokens": INTEGER,
        "first_token_seconds": NUMBER,
        "seconds": NUMBER,
        "finish_reason": TEXT,
        "bad": TEXT,
        "diversity": NUMBER,
    },
    "feedback": {
        "id": TEXT,
        "time": TIME,
        "version": TEXT,
        "caller": TEXT,
        "completed": FLAG,
        "converted": FLAG,
        "returned": FLAG,
        "rating": INTEGER,
        "comment": TEXT,
        "correction": TEXT,
    },
}
"""Columns and their types, by table; every one can be null.

``adapter`` is the name of the adapter that answered, and ``digest`` is its own then; rows of version 0.1.0
have no such column. ``messages`` and ``tools`` are JSON, as the request had them. A text that is continued,
and a classifier's input, is ``text`` instead; a classifier's ``answer`` is a label, or JSON of labels or
entities, and has no ``finish_reason``. Vectors are not kept. ``time`` is the arrival. ``bad`` says why an
answer is bad, ``version`` has the first twelve digits of the digest that the feedback is about.
"""


def version_of(digest: str) -> str:
    """Return the digits of *digest* that feedback and ``system_fingerprint`` name.

    >>> version_of("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return digest.removeprefix("sha256:")[:12]
