"""Hand jobs to workers by Celery, with RabbitMQ or Redis.

A message has the id of a job and nothing else. The table decides whether the job is still to be done, so that
a message can come twice, late or never: Celery's delivery is at least once with RabbitMQ, and Redis forgets
what it has not saved.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from framework.serving.jobs.upkeep import Upkeep

if TYPE_CHECKING:
    from celery import Celery

_log = logging.getLogger(__name__)
TASK = "gitune.job"
_AT_ONCE = 100
_SECONDS = 10
"""Longest wait for the broker."""


def open_celery(broker: str, release: str, *, publishes: bool) -> "Celery":
    """Return the application of one release's queue.

    Args:
        broker: its URL.
        release: the release's name; workers of one release take no other's jobs.
        publishes: whether it sends jobs; else it takes them.
    """
    from celery import Celery

    app = Celery("gitune", broker=broker, set_as_current=False)
    options: dict[str, Any] = {"socket_keepalive": True, "health_check_interval": _SECONDS}
    if broker.startswith("amqp"):
        options = {"confirm_publish": True}
        if publishes:
            options |= {"read_timeout": _SECONDS, "write_timeout": _SECONDS}
    elif publishes:
        options |= {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS}
    app.conf.update(
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=_SECONDS,
        broker_transport_options=options,
        task_acks_late=True,
        task_default_delivery_mode="persistent",
        task_default_queue=f"gitune.{release}",
        task_ignore_result=True,
        task_reject_on_worker_lost=True,
        # Redis' connection for remote control is always read, so that a worker notices its loss. Without it,
        # a worker whose slots are all in use does not, cannot acknowledge, and takes no job any more.
        worker_enable_remote_control=not broker.startswith("amqp"),
        worker_prefetch_multiplier=1,
    )
    return app


class CeleryQueue:
    """Sends the ids of jobs to the broker; see ``JobQueue``.

    Args:
        upkeep: tells which jobs are to be sent.
        app: as ``open_celery`` returns it.
        republish_seconds: when a job that no worker has begun is sent again.
    """

    def __init__(self, upkeep: Upkeep, app: "Celery", republish_seconds: float) -> None:
        self._upkeep, self._app, self._republish_seconds = upkeep, app, republish_seconds
        self._failing = False

    async def hand_over(self) -> None:
        """Send jobs; see ``JobQueue``."""
        await asyncio.to_thread(self._send)

    def _send(self) -> None:
        while job_ids := list(self._upkeep.to_publish(_AT_ONCE, self._republish_seconds)):
            for sent, job_id in enumerate(job_ids):
                try:
                    self._app.send_task(TASK, [job_id], retry_policy=_RETRY)
                except Exception as error:  # kombu's, the transport's and the socket's have no common base
                    self._upkeep.unpublish(job_ids[sent:])
                    if not self._failing:
                        _log.warning("the broker of background jobs does not answer: %s", error)
                    self._failing = True
                    return
                self._failing = False

    async def close(self) -> None:
        """Close the connections; see ``JobQueue``."""
        await asyncio.to_thread(self._app.close)


_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
