"""Read and change the rows of one release's jobs.

Every change is one conditional statement, so that of several processes one succeeds. Calls block; an event
loop makes them in threads.
"""

import threading
import time
from typing import TYPE_CHECKING, Any

from framework.serving.jobs import job as states
from framework.serving.jobs.job import Job
from framework.serving.jobs.schema import create_table, job_table, open_engine

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine


class JobRows:
    """The rows of one release's jobs.

    Args:
        url: SQLAlchemy's URL of the database.
        release: the release's name; jobs of other releases are not seen.

    Raises:
        ServeError: the URL is wrong, or a package is not installed. The methods raise SQLAlchemy's errors.
    """

    def __init__(self, url: str, release: str) -> None:
        self.url = url
        self._engine, self._release = open_engine(url), release
        self.c = job_table().c
        """The table's columns."""
        self._created, self._lock = False, threading.Lock()
        self._columns = [self.c[name] for name in Job.__dataclass_fields__]

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _open(self) -> "Engine":
        """Return what connects to a database that has the table; it may have been away at the start."""
        with self._lock:
            if not self._created:
                create_table(self._engine)
                self._created = True
        return self._engine

    def insert(self, row: dict[str, Any]) -> None:
        """Add a row, unless there is one with its id, or with its owner and key."""
        from sqlalchemy.dialects import postgresql, sqlite

        kind: Any = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        insert = kind(job_table()).values(**row, release=self._release).on_conflict_do_nothing()
        with self._open().begin() as connection:
            connection.execute(insert)

    def read(self, which: "ColumnElement[bool]") -> list[Job]:
        """Return the jobs that match."""
        return [Job(*row) for row in self.select(*self._columns, which=which)]

    def select(
        self,
        *columns: Any,
        which: "ColumnElement[bool]",
        group: Any = None,
        order: Any = None,
        most: int | None = None,
    ) -> list[Any]:
        """Return *columns* of at most *most* rows, or groups of rows, that match."""
        from sqlalchemy import select

        query = select(*columns).where(self._own(which)).group_by(group).order_by(order).limit(most)
        with self._open().connect() as connection:
            return list(connection.execute(query).all())

    def change(
        self,
        which: "ColumnElement[bool]",
        values: dict[str, Any],
        *,
        order: Any = None,
        most: int | None = None,
    ) -> list[Job]:
        """Update the rows that match; return them as they are then.

        Args:
            which: the condition, which holds for each row at the moment of its change.
            values: new values, or expressions, by column.
            order: the column that the first *most* rows are taken by.
            most: most rows to change.
        """
        from sqlalchemy import select, update

        own = self._own(which)
        if most is not None:
            own &= self.c.id.in_(select(self.c.id).where(own).order_by(order).limit(most))
        change = update(job_table()).where(own).values(**values).returning(*self._columns)
        with self._open().begin() as connection:
            return [Job(*row) for row in connection.execute(change).all()]

    def end(
        self,
        which: "ColumnElement[bool]",
        status: str,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> list[Job]:
        """End the jobs that match and have not ended; return them. The first result stays."""
        from sqlalchemy import case

        now = time.time()
        values = {
            **{
                "status": status,
                "result": result,
                "error": error,
                "ended": now,
                "holder": None,
                "lease": None,
            },
            "webhook_due": case((self.c.webhook.is_not(None), now)),
        }
        return self.change(which & self.c.status.in_(states.OPEN), values)

    def delete(self, which: "ColumnElement[bool]") -> int:
        """Delete the rows that match; return how many."""
        from sqlalchemy import delete

        with self._open().begin() as connection:
            return int(connection.execute(delete(job_table()).where(self._own(which))).rowcount)

    def is_due(self, now: float) -> "ColumnElement[bool]":
        """Return the condition of a job that can be begun."""
        return (self.c.status == states.QUEUED) & (self.c.due <= now) & (self.c.deadline > now)

    def _own(self, which: "ColumnElement[bool]") -> "ColumnElement[bool]":
        return (self.c.release == self._release) & which
