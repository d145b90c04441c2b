"""Thresholds of the alerts; ``alerts`` has the queries that are compared with them."""

from typing import Annotated

from pydantic import Field

from framework.core.component import Component

Percent = Annotated[float, Field(gt=0, le=100)]
Positive = Annotated[float, Field(gt=0)]


class Bounds(Component):
    """Thresholds of the alerts."""

    busy_percent: Percent = 85
    """Highest memory or CPU use of a pod, in percent of its limit, and highest GPU utilization."""
    busy_minutes: Annotated[int, Field(ge=1, le=60)] = 5
    """Minutes above ``busy_percent`` before the alert fires."""
    down_minutes: Annotated[int, Field(ge=1, le=60)] = 5
    """Minutes without a ready pod before the alert fires."""
    fall_percent: Percent = 30
    """Largest drop of the request rate, compared with ten minutes ago and with the same hour of previous
    weeks."""
    least_rate: Positive = 1.0
    """Request rate below which a drop is not significant, in requests per second."""
    band_sigmas: Positive = 3.0
    """Half the width of the forecast's band, in standard deviations of its recent error."""
    p99_seconds: Positive = 10.0
    """Highest 99th percentile of the latency, in seconds; set far less for a classifier."""
    failure_percent: Percent = 5
    """Highest share of failed requests."""
    timeout_percent: Percent = 5
    """Highest share of requests that time out or are canceled by the caller."""
    queue_seconds: Positive = 30.0
    """Longest time that a request waits before the model starts on it, in seconds."""
    first_token_seconds: Positive = 10.0
    """Highest 95th percentile of the time to the first token, in seconds."""
    queue_p95_seconds: Positive = 5.0
    """Highest 95th percentile of the time until the model begins a request, in seconds; below
    ``serving.max_wait_seconds``, at which requests are refused."""
    job_wait_seconds: Positive = 600
    """Longest time that a background job waits until it is begun, in seconds."""
    job_failure_percent: Percent = 10
    """Highest share of background jobs that fail."""
    jobs_lost: Annotated[float, Field(ge=0)] = 2
    """Most background jobs that lose their worker or server in 15 minutes."""
    webhook_failure_percent: Percent = 50
    """Highest share of the calls of webhooks that fail."""
    bad_in_a_row: Annotated[int, Field(ge=2)] = 10
    """Consecutive bad answers at which the alert fires."""
    length_sigmas: Positive = 2.0
    """Largest distance between the mean input or output length of ten minutes and that of a day, in standard
    deviations of the day."""
    drift_psi: Positive = 0.2
    """Highest population stability index of lengths and labels; 0.1 is little, 0.25 is much."""
    unseen_percent: Percent = 20
    """Highest share of new words in prompts, beyond what is usual."""
    success_percent: Percent = 90
    """Lowest share of calls that are completed."""
    business_fall_percent: Percent = 15
    """Largest drop of a business metric below the same hour of previous weeks."""
    conversion_points: Percent = 2
    """Largest change of the conversion rate from the same hour of previous weeks, up or down, in percentage
    points."""
    least_reports: Annotated[int, Field(ge=1)] = 50
    """Reports per hour below which business metrics are not significant."""
    certificate_days: Annotated[int, Field(ge=1)] = 14
    """Days before a certificate's expiry at which the alert fires; cert-manager renews it well before."""
