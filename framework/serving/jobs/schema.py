"""The table of jobs, for SQLite and PostgreSQL."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from framework.core.errors import ServeError

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

NAME = "gitune_jobs_1"
"""Rows live for days, so another layout is another table: the number counts layouts."""
_BUSY_MILLISECONDS = 20_000


@lru_cache(maxsize=1)
def job_table() -> "Table":
    """Return the description of the table."""
    import sqlalchemy as sa

    return sa.Table(
        NAME,
        sa.MetaData(),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("shown", sa.JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("deadline", sa.Double, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False, default=0),
        # Who runs it, and until when it is trusted to; when a queued job can be begun.
        sa.Column("holder", sa.String(64)),
        sa.Column("lease", sa.Double),
        sa.Column("due", sa.Double, nullable=False),
        # When it is sent to the broker next, and how often it was.
        sa.Column("publish_due", sa.Double, nullable=False, default=0.0),
        sa.Column("published", sa.Integer, nullable=False, default=0),
        sa.Column("result", sa.JSON(none_as_null=True)),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.Column("webhook", sa.Text),
        sa.Column("webhook_due", sa.Double),
        sa.Column("webhook_attempts", sa.Integer, nullable=False, default=0),
        sa.Column("counted", sa.Boolean, nullable=False, default=False),
        sa.UniqueConstraint("release", "owner", "key", name=f"{NAME}_key"),
        sa.Index(f"{NAME}_open", "release", "status", "created"),
        sa.Index(f"{NAME}_ended", "release", "ended"),
    )


def open_engine(url: str) -> "Engine":
    """Return what connects to the database at *url*; it does not connect yet.

    Raises:
        ServeError: the URL is wrong, or a package is not installed.
    """
    try:
        import sqlalchemy as sa
    except ImportError:
        raise ServeError("serving.jobs needs the package sqlalchemy: pip install 'gitune[jobs]'") from None
    try:
        address = sa.make_url(url)
        if address.drivername in ("postgres", "postgresql"):
            address = address.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(address, pool_pre_ping=True, pool_size=5, max_overflow=10)
    except ImportError:
        raise ServeError(
            "serving.jobs.results needs the package psycopg: pip install 'gitune[postgres]'"
        ) from None
    except sa.exc.ArgumentError:
        engine = None
    # The URL can have a password, so no message shows it.
    if engine is None or engine.dialect.name not in ("sqlite", "postgresql"):
        raise ServeError(
            "serving.jobs.results is no URL of a supported database; set it to sqlite:///<path> or postgresql://…"
        )
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def create_table(engine: "Engine") -> None:
    """Create the table if it is missing.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not answer.
    """
    import sqlalchemy as sa

    try:
        job_table().metadata.create_all(engine)
    except sa.exc.DBAPIError:
        # Another process may have created it between the check and the command.
        if not sa.inspect(engine).has_table(NAME):
            raise
        job_table().metadata.create_all(engine)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    """Let several processes use one file, and keep what was accepted through a loss of power."""
    for pragma in (f"busy_timeout={_BUSY_MILLISECONDS}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()
