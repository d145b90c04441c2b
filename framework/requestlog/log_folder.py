"""The files of a log: write one, list them, read them, and remove the oldest."""

import errno
import io
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from framework.core.error_text import first_line
from framework.core.errors import DataError, SourceError
from framework.core.filesystem import write_whole
from framework.requestlog import COLUMNS, TIME, Table

_FORM = "%Y%m%dT%H%M%S%f"


class LogFolder:
    """A log at a path or a URL."""

    def __init__(self, url: str) -> None:
        """Open it; nothing is read or written yet.

        Raises:
            SourceError: no file system opens the URL.
        """
        from fsspec.core import url_to_fs

        self.url = url
        try:
            self._files, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SourceError(f"{url}: {first_line(error)}; give a folder, or a URL such as s3://…") from None
        self._local = "file" in self._files.protocol

    def prepare(self) -> None:
        """Make the folder, if it is on this machine.

        Raises:
            OSError: it cannot be made, or not be written to.
        """
        if self._local:
            Path(self._root).mkdir(parents=True, exist_ok=True)
            if not os.access(self._root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self._root)

    def write(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write *rows* as one new file, which is there whole or not at all; return its name.

        Raises:
            OSError: it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = [(name, _type(kind)) for name, kind in COLUMNS[table].items()]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), pa.schema(types)), buffer, compression="zstd")
        name = f"{datetime.now(UTC).strftime(_FORM)}-{uuid.uuid4().hex[:8]}.parquet"
        path = f"{self._root}/{table}/{name}"
        if self._local:
            write_whole(Path(path), buffer.getvalue())
        else:  # an object is written whole or not at all
            self._files.pipe_file(path, buffer.getvalue())
        return name

    def files(self, table: Table) -> list[tuple[str, int]]:
        """Return path and size in bytes of each file, the oldest first."""
        try:
            found = self._files.find(f"{self._root}/{table}", detail=True)
        except FileNotFoundError:
            return []
        parts = {path: part for path, part in found.items() if _written(path) is not None}
        return [(path, int(part["size"])) for path, part in sorted(parts.items(), key=_by_name)]

    def prune(self, keep_days: int, most_bytes: int) -> int:
        """Remove files older than *keep_days*, then the oldest beyond *most_bytes*; return how many."""
        oldest = datetime.now(UTC) - timedelta(days=keep_days)
        files = [file for table in get_args(Table) for file in self.files(table)]
        files.sort(key=_by_name)
        total, removed = sum(size for _, size in files), 0
        for path, size in files:
            written = _written(path)
            if total <= most_bytes and (written is None or written >= oldest):
                continue
            total -= size
            removed += 1
            try:
                self._files.rm_file(path)
            except FileNotFoundError:
                continue  # another server of the same folder was first
        return removed

    def read(self, table: Table) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield every row in the order of writing: its file's name, its number from 1, and its columns.

        Raises:
            DataError: a file is damaged, or is not one of a log.
            SourceError: the folder has no such table.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = self.files(table)
        if not files and table == "requests":
            raise SourceError(f"{self.url}: no request log is here; give the folder of serving.request_log")
        for path, _ in files:
            name = f"{table}/{path.rpartition('/')[2]}"
            try:
                rows = pq.read_table(io.BytesIO(self._files.cat_file(path))).to_pylist()
            except pa.ArrowException as error:
                raise DataError(f"{self.url}/{name}: not a Parquet file ({first_line(error)})") from None
            missing = [column for column in ("id", "time") if rows and column not in rows[0]]
            if missing:
                raise DataError(f"{self.url}/{name}: it has no column '{missing[0]}'; remove the file")
            for number, row in enumerate(rows, 1):
                yield name, number, {key: row.get(key) for key in COLUMNS[table]}


def _by_name(file: tuple[str, Any]) -> str:
    return file[0].rpartition("/")[2]


def _written(path: str) -> datetime | None:
    """Return when a file was written, by its name; None if it is none of ours."""
    name = path.rpartition("/")[2]
    if not name.endswith(".parquet"):
        return None
    try:
        return datetime.strptime(name.partition("-")[0], _FORM).replace(tzinfo=UTC)
    except ValueError:
        return None


def _type(kind: str) -> Any:
    import pyarrow as pa

    return pa.timestamp("us", "UTC") if kind == TIME else pa.type_for_alias(kind)
