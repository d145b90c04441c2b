"""Call webhooks: tell a URL that a job has ended, signed as Standard Webhooks does.

The call names the job and its status, never its answer. Which calls are open is in the table, so that they
survive a restart; each is made at least once, and its id is the same each time.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
import random
import time
from typing import Any

import httpx

from framework.core.errors import ServeError
from framework.serving.jobs.job import Job
from framework.serving.jobs.settings import WEBHOOK_SECRET, Jobs
from framework.serving.jobs.upkeep import Upkeep
from framework.serving.telemetry.job_metrics import JobMetrics

_log = logging.getLogger(__name__)
ATTEMPTS = 8
"""Most calls for one job, over about eleven hours."""
_FIRST_WAIT = 5.0
_LONGEST_WAIT = 6 * 3600.0
_TIMEOUT = 10.0
_AT_ONCE = 8
_CLAIM = 60.0
"""Seconds until another server makes a call that this one has begun; longer than the call takes."""
_GONE = 410


def read_secret() -> bytes:
    """Return the key of the signatures.

    Raises:
        ServeError: the environment variable is not set, or has another format.
    """
    text = os.environ.get(WEBHOOK_SECRET, "").strip()
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ServeError(
            f"{WEBHOOK_SECRET} signs webhooks and must be whsec_ and 24 to 64 bytes in base64; set it, "
            "or leave serving.jobs.webhook_hosts empty"
        )
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header ``webhook-signature``.

    >>> sign(b"k" * 24, "evt_1", 0, b"{}")
    'v1,tJSfM+2IAwMrj6X9TGRSFvdHI289iBD0GWxNoZ31BNU='
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def event(job: Job) -> dict[str, Any]:
    """Return what is sent: OpenAI's event for a response, the same of ours for another job."""
    kind = "response" if job.id.startswith("resp_") else "job"
    return {
        "id": f"evt_{job.id.partition('_')[2]}",
        "object": "event",
        "created_at": int(job.ended or job.created),
        "type": f"{kind}.{job.status}",
        "data": {"id": job.id},
    }


class Webhooks:
    """Makes the calls that are due.

    Args:
        upkeep: tells which are due.
        settings: which hosts can be called.
        key: signs the calls.
        metrics: what is exported.
    """

    def __init__(self, upkeep: Upkeep, settings: Jobs, key: bytes, metrics: JobMetrics) -> None:
        self._upkeep, self._settings, self._key, self._metrics = upkeep, settings, key, metrics
        # A proxy from the environment would decide where the call goes.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(self) -> int:
        """Make the calls that are due; return how many there were."""
        jobs = await asyncio.to_thread(self._upkeep.due_webhooks, _AT_ONCE, _CLAIM)
        await asyncio.gather(*map(self._call, jobs))
        return len(jobs)

    async def _call(self, job: Job) -> None:
        assert job.webhook is not None
        if not self._settings.calls(job.webhook):
            _log.warning("job %s: its webhook's host is not in serving.jobs.webhook_hosts any more", job.id)
            self._metrics.called("given_up")
            await asyncio.to_thread(self._upkeep.set_webhook, job.id, None)
            return
        sent = event(job)
        body = json.dumps(sent, separators=(",", ":")).encode()
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": sent["id"],
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._key, sent["id"], timestamp, body),
        }
        try:
            async with self._client.stream("POST", job.webhook, content=body, headers=headers) as response:
                code, why = response.status_code, f"status {response.status_code}"
        except httpx.HTTPError as error:
            code, why = 0, type(error).__name__
        if 200 <= code < 300:
            wait = None
            self._metrics.called("ok")
        elif code == _GONE or job.webhook_attempts >= ATTEMPTS:
            _log.warning("job %s: its webhook failed %d times: %s", job.id, job.webhook_attempts, why)
            wait = None
            self._metrics.called("given_up")
        else:
            self._metrics.called("failed")
            wait = backoff(job.webhook_attempts)
        await asyncio.to_thread(self._upkeep.set_webhook, job.id, wait)


def backoff(attempts: int) -> float:
    """Return the seconds until the next call after so many *attempts*: exponential, with jitter.

    >>> 3.75 <= backoff(1) <= 7.5, 93.75 <= backoff(3) <= 187.5, backoff(99) <= 9 * 3600
    (True, True, True)
    """
    wait = min(_FIRST_WAIT * 5.0 ** min(attempts - 1, 9), _LONGEST_WAIT)
    return float(wait * random.uniform(0.75, 1.5))
