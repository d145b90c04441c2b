"""A table of jobs in each supported database."""

from collections.abc import Callable, Iterator

import debian_servers
import pytest

from framework.serving.jobs.job import NewJob
from framework.serving.jobs.rows import JobRows
from framework.serving.jobs.table import JobTable


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with debian_servers.postgres() as (_, url):
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def rows(request, tmp_path) -> Iterator[JobRows]:
    """The rows of a release of its own."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/jobs.sqlite"
    else:
        url = request.getfixturevalue("postgres_url")
    rows = JobRows(url, request.node.name)
    yield rows
    rows.close()


@pytest.fixture
def table(rows) -> JobTable:
    return JobTable(rows, max_seconds=3600, lease_seconds=30)


@pytest.fixture
def add(table, request) -> Callable[..., str]:
    """Add a job; return its id, which is unique among the tests."""

    def call(number: int = 1, **more: object) -> str:
        new = NewJob("/v1/x", {"n": number}, "owner", **more)
        return table.add(new, f"job_{request.node.name[-30:]}_{number}")[0].id

    return call
