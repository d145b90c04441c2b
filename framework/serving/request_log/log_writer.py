"""Write rows to the log from a thread of its own, so that no request waits or fails.

Rows wait in a bounded buffer. One that does not fit is dropped, and counted.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, get_args

from framework.build.clean.personal_data import Found, Kind, find, replaced
from framework.core.error_text import first_line
from framework.core.errors import ServeError
from framework.requestlog import Table
from framework.requestlog.log_folder import LogFolder
from framework.serving.request_log.options import RequestLog
from framework.serving.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
MOST_CHARACTERS = 64 * 2**20
"""Most characters of all waiting rows; further rows are dropped."""
FILE_ROWS, FILE_CHARACTERS = 1000, 16 * 2**20
"""A file is written when so many rows wait, or rows of so many characters."""
CLOSE_SECONDS = 10
"""Longest time that the last rows have to be written."""
PRUNE_SECONDS = 300
"""Time between two looks for files to remove."""
_MASKED = ("messages", "tools", "text", "answer", "comment", "correction")


class LogWriter:
    """Takes rows at any time from any thread, and writes them when there are enough, or after a while."""

    def __init__(self, options: RequestLog, metrics: Metrics) -> None:
        """Open the folder and start the thread.

        Raises:
            ServeError: no file system opens the folder's URL, or it cannot be written.
        """
        self._options, self._metrics = options, metrics
        self._rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in get_args(Table)}
        self._characters, self._since = 0, 0.0
        self._closing = False
        self._changed = threading.Condition()
        try:
            self._folder = LogFolder(options.folder)
            self._folder.prepare()
            self._prune()
        except Exception as error:  # every store's client has its own errors
            raise ServeError(
                f"serving.request_log.folder={options.folder}: {first_line(error)}; "
                "name a folder, or a URL, that the server may write to"
            ) from error
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def add(self, table: Table, row: Mapping[str, Any]) -> None:
        """Keep *row* until it is written; it is dropped if too much waits. It never blocks for long."""
        size = _characters(row)
        with self._changed:
            if self._closing or self._characters + size > MOST_CHARACTERS:
                self._count(table, "dropped")
                return
            if not self._waiting():
                self._since = time.monotonic()
                self._changed.notify()
            self._rows[table].append(dict(row))
            self._characters += size
            if self._full():
                self._changed.notify()

    def close(self) -> None:
        """Write what waits, and end; rows that come later are dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _waiting(self) -> int:
        return sum(map(len, self._rows.values()))

    def _full(self) -> bool:
        return self._waiting() >= FILE_ROWS or self._characters >= FILE_CHARACTERS

    def _run(self) -> None:
        pruned = time.monotonic()
        while True:
            with self._changed:
                while not self._due():
                    left = self._since + self._options.flush_seconds - time.monotonic()
                    self._changed.wait(max(left, 0.01) if self._waiting() else None)
                rows, self._rows = self._rows, {table: [] for table in get_args(Table)}
                self._characters, closing = 0, self._closing
            for table, several in rows.items():
                if several:
                    self._write(table, several)
            if closing:
                return
            if time.monotonic() - pruned >= PRUNE_SECONDS:
                pruned = time.monotonic()
                self._try_prune()

    def _due(self) -> bool:
        late = time.monotonic() - self._since >= self._options.flush_seconds
        return self._closing or self._full() or bool(self._waiting() and late)

    def _write(self, table: Table, rows: list[dict[str, Any]]) -> None:
        try:
            self._folder.write(table, [masked(row, self._options.mask) for row in rows])
        except Exception as error:  # every store's client has its own errors
            _log.error("%d rows of the request log are lost: %s", len(rows), first_line(error))
            self._count(table, "failed", len(rows))
            return
        self._count(table, "written", len(rows))

    def _try_prune(self) -> None:
        try:
            self._prune()
        except Exception as error:
            _log.warning("old files of the request log cannot be removed: %s", first_line(error))

    def _prune(self) -> None:
        self._folder.prune(self._options.keep_days, self._options.most_mib * 2**20)

    def _count(self, table: Table, outcome: str, rows: int = 1) -> None:
        self._metrics.logged.labels(table, outcome).inc(rows)


def masked(row: Mapping[str, Any], kinds: tuple[Kind, ...]) -> dict[str, Any]:
    r"""Return *row* with personal data of *kinds* replaced by its kind's name, in every text of users.

    Lists become JSON after that: its escapes would hide what follows them.

    >>> masked({"messages": [{"content": "My mail:\na@example.com"}], "id": "x"}, ("email",))
    {'messages': '[{"content": "My mail:\\n[EMAIL]"}]', 'id': 'x'}
    """
    return {key: _written(_mask(value, kinds)) if key in _MASKED else value for key, value in row.items()}


def _written(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _mask(value: Any, kinds: tuple[Kind, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _mask(part, kinds) for key, part in value.items()}
    if isinstance(value, list):
        return [_mask(part, kinds) for part in value]
    if isinstance(value, str) and (found := find(value, kinds)):
        return replaced(value, found, _name)
    return value


def _name(found: Found, value: str) -> str:
    return f"[{found.kind.upper()}]"


def _characters(value: Any) -> int:
    """Return the characters of all texts in *value*."""
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return sum(map(_characters, parts))
