"""What servers do with the table while jobs run: find what was lost, and erase what is old.

Several servers can do it at once. Methods block and raise SQLAlchemy's errors.
"""

import time
from collections.abc import Sequence

from framework.serving.jobs import job as states
from framework.serving.jobs.job import Job
from framework.serving.jobs.rows import JobRows
from framework.serving.jobs.table import QUEUED_AGAIN

_DOUBLINGS = 10


class Upkeep:
    """Keeps the rows of one release in order."""

    def __init__(self, rows: JobRows) -> None:
        self._rows = rows

    def fail_late(self) -> list[Job]:
        """Fail the jobs whose deadline has passed; return them."""
        error = {"code": "deadline_exceeded", "message": "The job was not answered before its deadline"}
        return self._rows.end(self._rows.c.deadline <= time.time(), states.FAILED, None, error)

    def take_back(self, max_attempts: int) -> int:
        """Queue the jobs of silent holders again; fail those that were lost too often; return how many."""
        c, now = self._rows.c, time.time()
        silent = (c.status == states.IN_PROGRESS) & (c.lease < now)
        tried = c.attempts >= max_attempts
        error = {
            "code": "attempts_exceeded",
            "message": f"The job was begun {max_attempts} times, and what answered it died each time",
        }
        failed = self._rows.end((silent | (c.status == states.QUEUED)) & tried, states.FAILED, None, error)
        return len(failed) + len(self._rows.change(silent, {**QUEUED_AGAIN, "due": now}))

    def erase(self, keep_seconds: float) -> int:
        """Erase the jobs that ended more than *keep_seconds* ago; return how many."""
        return self._rows.delete(self._rows.c.ended < time.time() - keep_seconds)

    def to_publish(self, most: int, seconds: float) -> Sequence[str]:
        """Return the ids of jobs to send to the broker, the oldest first.

        Each is due again after *seconds*, doubled with each time, until it is begun: messages can be lost,
        and one too many is harmless.
        """
        from sqlalchemy import case, literal

        c, now = self._rows.c, time.time()
        values = {
            "publish_due": now + seconds * literal(1).bitwise_lshift(c.published),
            "published": case((c.published < _DOUBLINGS, c.published + 1), else_=_DOUBLINGS),
        }
        due = self._rows.is_due(now) & (c.publish_due <= now)
        changed = self._rows.change(due, values, order=c.created, most=most)
        return [job.id for job in sorted(changed, key=lambda job: job.created)]

    def unpublish(self, job_ids: Sequence[str]) -> None:
        """Let jobs be sent again at once, since the broker did not take them."""
        c = self._rows.c
        which = c.id.in_(job_ids) & (c.status == states.QUEUED)
        self._rows.change(which, {"publish_due": 0.0, "published": 0})

    def due_webhooks(self, most: int, seconds: float) -> list[Job]:
        """Return ended jobs whose webhook is to be called now; each is due again in *seconds*."""
        c, now = self._rows.c, time.time()
        values = {"webhook_due": now + seconds, "webhook_attempts": c.webhook_attempts + 1}
        return self._rows.change(c.webhook_due <= now, values, order=c.webhook_due, most=most)

    def set_webhook(self, job_id: str, seconds: float | None) -> None:
        """Call the job's webhook again in *seconds*; None: never."""
        due = None if seconds is None else time.time() + seconds
        self._rows.change(self._rows.c.id == job_id, {"webhook_due": due})

    def count_ended(self) -> dict[str, int]:
        """Return how many jobs have ended, by status, that no process has counted yet."""
        c = self._rows.c
        counts: dict[str, int] = {}
        for job in self._rows.change(c.ended.is_not(None) & c.counted.is_(False), {"counted": True}):
            counts[job.status] = counts.get(job.status, 0) + 1
        return counts

    def queued(self) -> tuple[int, float]:
        """Return how many jobs are queued, and when the oldest was created, as Unix seconds."""
        from sqlalchemy import func

        c = self._rows.c
        [(count, oldest)] = self._rows.select(
            func.count(), func.min(c.created), which=c.status == states.QUEUED
        )
        return int(count), time.time() if oldest is None else float(oldest)
