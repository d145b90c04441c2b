"""The life of a job: it is added, begun by one holder at a time, and ended once.

Methods block and raise SQLAlchemy's errors; an event loop calls them in threads.
"""

import time
from typing import TYPE_CHECKING, Any

from framework.serving.jobs import job as states
from framework.serving.jobs.job import Job, NewJob
from framework.serving.jobs.rows import JobRows

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


class JobTable:
    """Adds, begins, ends and reads jobs.

    Args:
        rows: the rows of one release.
        max_seconds: seconds until a job fails without a result.
        lease_seconds: seconds that a holder is trusted without a word.
    """

    def __init__(self, rows: JobRows, max_seconds: float, lease_seconds: float) -> None:
        self._rows, self._max_seconds, self.lease_seconds = rows, max_seconds, lease_seconds

    def add(self, new: NewJob, job_id: str) -> tuple[Job, bool]:
        """Create a job; return it, and whether it is new.

        With the idempotency key of an earlier job of the same owner, that one is returned.
        """
        row, c = self._row(new, job_id, time.time()), self._rows.c
        while True:
            self._rows.insert(row)
            same = c.id == job_id if new.key is None else (c.owner == new.owner) & (c.key == new.key)
            if found := self._rows.read(same):
                return found[0], found[0].id == job_id
            # The earlier job was erased in between.

    def keep(self, new: NewJob, job_id: str, status: str, result: dict[str, Any]) -> None:
        """Create a row that has ended: what was answered at once and is kept as a job's result is."""
        now = time.time()
        ended = {"status": status, "result": result, "ended": now, "counted": True}
        self._rows.insert({**self._row(new, job_id, now), **ended})

    def get(self, job_id: str, owner: str) -> Job | None:
        """Return the job of *owner*, None if there is none."""
        found = self._rows.read(self._of(job_id, owner))
        return found[0] if found else None

    def with_key(self, key: str, owner: str) -> Job | None:
        """Return the job that *owner* sent with the idempotency key *key*, None if there is none."""
        found = self._rows.read((self._rows.c.key == key) & (self._rows.c.owner == owner))
        return found[0] if found else None

    def delete(self, job_id: str, owner: str) -> bool:
        """Erase a job of *owner*, which ends it; False if there is none."""
        return bool(self._rows.delete(self._of(job_id, owner)))

    def open_jobs(self) -> dict[str, int]:
        """Return how many jobs of each owner have no result."""
        from sqlalchemy import func

        c = self._rows.c
        return dict(
            map(
                tuple,
                self._rows.select(c.owner, func.count(), which=c.status.in_(states.OPEN), group=c.owner),
            )
        )

    def claim(self, job_id: str, holder: str) -> Job | None:
        """Begin a queued job; None if it is not queued any more, or not due yet."""
        now, c = time.time(), self._rows.c
        values = {"status": states.IN_PROGRESS, "holder": holder, "lease": now + self.lease_seconds}
        which = (c.id == job_id) & self._rows.is_due(now)
        begun = self._rows.change(which, {**values, "attempts": c.attempts + 1})
        return begun[0] if begun else None

    def waiting(self, most: int) -> list[str]:
        """Return the ids of at most *most* jobs that can be begun, the oldest first."""
        due, c = self._rows.is_due(time.time()), self._rows.c
        return [row[0] for row in self._rows.select(c.id, which=due, order=c.created, most=most)]

    def renew(self, job_id: str, holder: str) -> bool:
        """Go on with a begun job; False if it is not this holder's any more, as when it was cancelled."""
        lease = time.time() + self.lease_seconds
        return bool(self._rows.change(self._held(job_id, holder), {"lease": lease}))

    def release(self, job_id: str, holder: str, seconds: float = 0.0, *, lost: bool = False) -> bool:
        """Give a begun job back.

        Args:
            job_id: the job.
            holder: who has begun it.
            seconds: how long it waits until it can be begun again.
            lost: whether its server or the model's process died on it, which counts as an attempt.
        """
        due, attempts = time.time() + seconds, self._rows.c.attempts
        values = {"attempts": attempts if lost else attempts - 1, "due": due}
        return bool(self._rows.change(self._held(job_id, holder), values | QUEUED_AGAIN))

    def finish(
        self,
        job_id: str,
        status: str,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> bool:
        """Write a job's result; False if it has ended before, with a result that stays."""
        return bool(self._rows.end(self._rows.c.id == job_id, status, result, error))

    def cancel(self, job_id: str, owner: str) -> Job | None:
        """Cancel a job of *owner* unless it has ended; return it as it then is, None if there is none."""
        self._rows.end(self._of(job_id, owner), states.CANCELLED)
        return self.get(job_id, owner)

    def _row(self, new: NewJob, job_id: str, now: float) -> dict[str, Any]:
        return {
            **{"id": job_id, "owner": new.owner, "key": new.key, "path": new.path, "body": new.body},
            **{"shown": new.shown, "webhook": new.webhook, "status": states.QUEUED},
            **{"created": now, "due": now, "deadline": now + self._max_seconds},
        }

    def _of(self, job_id: str, owner: str) -> "ColumnElement[bool]":
        return (self._rows.c.id == job_id) & (self._rows.c.owner == owner)

    def _held(self, job_id: str, holder: str) -> "ColumnElement[bool]":
        c = self._rows.c
        return (c.id == job_id) & (c.status == states.IN_PROGRESS) & (c.holder == holder)


QUEUED_AGAIN = {
    **{"status": states.QUEUED, "holder": None, "lease": None},
    **{"publish_due": 0.0, "published": 0},
}
"""New values of a job that was begun and is queued again; it is sent to the broker once it is due."""
