"""The numbers that a ``CorpusClean`` computes for each row: Parquet files, queried with DuckDB out of core.

A file's content depends on its shard alone. A file that is there is complete, so that a step that was killed
goes on after the last one.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.clean import Batch, Decides
from framework.build.clean.process_pool import ordered_map

if TYPE_CHECKING:
    import duckdb

PACKAGES = {"duckdb": "clean", "pyarrow": "clean"}
"""What an option that uses these files returns from ``requires``."""
_MEMORY = "400MB"
"""What DuckDB may use before it writes to disk."""


def write_columns(rule: Decides, batches: Iterable[Batch], folder: Path) -> None:
    """Write the columns of each batch to ``<folder>/<batch>.parquet``, unless the file is there."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    places: deque[tuple[Path, int, Batch]] = deque()

    def missing() -> Iterator[Batch]:
        first = 0
        for shard, batch in enumerate(batches):
            file = folder / f"{shard:05}.parquet"
            if not file.exists():
                places.append((file, first, batch))
                yield batch
            first += len(batch)

    for columns in ordered_map(rule.columns, missing(), rule.workers):
        file, first, batch = places.popleft()
        origins = {
            "number": np.arange(first, first + len(batch), dtype=np.int64),
            "file": pa.array([row.file for row in batch]).dictionary_encode(),
            "line": np.array([row.line for row in batch], dtype=np.int64),
        }
        part = file.with_suffix(".part")
        pq.write_table(pa.table({**origins, **columns}), part)
        part.rename(file)


@contextmanager
def opened_columns(folder: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    """Open the files of ``write_columns`` as the view ``columns``; DuckDB writes beside them what it must."""
    import duckdb

    spill = folder / "spill"
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=settings) as connection:
        files = str(folder / "*.parquet").replace("'", "''")
        connection.execute(f"create view columns as select * from read_parquet('{files}')")
        yield connection


def records(connection: "duckdb.DuckDBPyConnection", query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the result of *query* row by row, without holding all of it."""
    for batch in connection.sql(query).to_arrow_reader(10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
