"""How much is too much: the bounds of every alert. Which query is compared with them, alerts know."""

from typing import Annotated

from pydantic import Field

from framework.core.component import Component

Percent = Annotated[float, Field(gt=0, le=100)]
Positive = Annotated[float, Field(gt=0)]


class Bounds(Component):
    """The bounds of the alerts."""

    busy_percent: Percent = 85
    """Most of its limit that a pod may use of memory or CPU, and most that its GPU may be busy."""
    busy_minutes: Annotated[int, Field(ge=1, le=60)] = 5
    """Minutes for which it must be above that."""
    down_minutes: Annotated[int, Field(ge=1, le=60)] = 5
    """Minutes without one pod that can answer."""
    fall_percent: Percent = 30
    """Fall of the requests a second against ten minutes ago, or against the same hour of the weeks
    before, that is too much."""
    least_rate: Positive = 1.0
    """Requests a second below which a fall says nothing."""
    band_sigmas: Positive = 3.0
    """Half the width of the forecast's band, in standard deviations of what it missed of late."""
    p99_seconds: Positive = 10.0
    """Longest time that 99 of 100 answers may take; a classifier deserves far less."""
    failure_percent: Percent = 5
    """Most requests that may fail."""
    timeout_percent: Percent = 5
    """Most requests that somebody may give up waiting for."""
    queue_seconds: Positive = 30.0
    """Longest time that a request may wait before the model begins it."""
    bad_in_a_row: Annotated[int, Field(ge=2)] = 10
    """Bad answers one after another that are too many."""
    length_sigmas: Positive = 2.0
    """How far the mean input or output length of ten minutes may be from its mean of a day, in standard
    deviations of the day."""
    success_percent: Percent = 90
    """Least share of calls that are completed."""
    business_fall_percent: Percent = 15
    """How far a business metric may be under the same hour of the weeks before."""
    conversion_points: Percent = 2
    """How far the conversion rate may move from the same hour of the weeks before, up or down, in
    percentage points."""
    least_reports: Annotated[int, Field(ge=1)] = 50
    """Reports an hour below which business metrics say nothing."""
    certificate_days: Annotated[int, Field(ge=1)] = 14
    """Days that a certificate must still be valid; cert-manager renews it well before."""
