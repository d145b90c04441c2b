"""Logs that were written as a server writes them."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from framework.requestlog.log_folder import LogFolder

START = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = (f"sha256:{sign * 64}" for sign in "ab")


@pytest.fixture
def requests():
    """Return rows of requests, one a minute."""

    def build(count, digest=OLD, *, days=0.0, length=8, words=50, seed=0, bad=0.0, seconds=1.0):
        chosen = random.Random(f"{seed}/{digest}")
        rows = []
        for number in range(count):
            size = max(1, round(chosen.gauss(length, 2)))
            text = " ".join(f"w{chosen.randrange(words)}" for _ in range(size))
            rows.append(
                {
                    "id": f"{digest[-1]}{seed}-{number}",
                    "time": START + timedelta(days=days, minutes=number),
                    "digest": digest,
                    "messages": json.dumps([{"role": "user", "content": text}]),
                    "answer": text[: 4 * size],
                    "bad": "empty" if chosen.random() < bad else None,
                    "seconds": seconds * chosen.uniform(0.5, 1.5),
                }
            )
        return rows

    return build


@pytest.fixture
def log(tmp_path):
    """Return a function that writes a log and returns its folder."""

    def write(requests, feedback=(), name="log"):
        folder = LogFolder(str(tmp_path / name))
        folder.write("requests", requests)
        if feedback:
            folder.write("feedback", feedback)
        return str(tmp_path / name)

    return write
