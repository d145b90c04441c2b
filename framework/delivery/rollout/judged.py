"""The base class of the rollouts that Argo Rollouts runs and judges by metrics.

They share pods, Services, analysis and time limits. Subclasses decide which requests the new release gets.
"""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.problem import Problem
from framework.delivery.autoscaling import Autoscaling
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.delivery.rollout import Rollout
from framework.delivery.rollout.analysis import Margins, Pace, comparison
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import service
from framework.manifests.workload import Workload

LIMIT_SECONDS = 300
"""What an abort and a rollback may take: five minutes."""
_WEBHOOK_SECONDS = 10
"""Time until Argo CD syncs where a webhook notifies it."""
REACTION_SECONDS = 10
"""Time until the controller acts and proxies notice."""
_API = "argoproj.io/v1alpha1"


class Judged(Rollout):
    """An Argo Rollouts Rollout, aborted where the new release is worse than the old one."""

    carries_files: ClassVar[bool] = True
    shares_requests: ClassVar[bool] = True
    """Whether requests are split between two Services, which not every traffic option supports."""

    interval_seconds: Annotated[int, Field(ge=5, le=600)] = 30
    """Seconds between two measurements."""
    window_seconds: Annotated[int, Field(ge=30, le=3600)] = 120
    """Look-back window of a measurement, in seconds; must span several scrapes. The first measurement waits
    for a full window."""
    failure_limit: Annotated[int, Field(ge=0, le=10)] = 1
    """Failed measurements that are tolerated; one more aborts the rollout and reverts all requests."""
    inconclusive_limit: Annotated[int, Field(ge=0)] = 10
    """Measurements with too few requests that are tolerated; one more pauses the rollout for a decision."""
    least_requests: Annotated[int, Field(ge=1)] = 20
    """Requests in a window below which a measurement is inconclusive."""
    least_failures: Annotated[int, Field(ge=1)] = 3
    """Failed requests or bad answers in a window below which their share is ignored. Windows overlap, so a
    single failure counts in several measurements."""
    error_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest excess of the new release's share of failed requests over the old one's."""
    latency_ratio: Annotated[float, Field(gt=0)] = 1.5
    """Largest ratio of the new release's 99th percentile of the latency to the old one's."""
    bad_margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest excess of the new release's share of bad answers over the old one's: quality that needs no
    labels. Ignored for servers that do not count bad answers."""

    @model_validator(mode="after")
    def _conclusive(self) -> "Judged":
        most = (self.judged_seconds - self.window_seconds) // self.interval_seconds
        if self.inconclusive_limit >= most:
            raise PydanticCustomError(
                "nothing_proved",
                "'inconclusive_limit' ({limit}) could promote a release without a conclusive measurement; "
                "there are only {most} measurements",
                {"limit": self.inconclusive_limit, "most": most},
            )
        return self

    @property
    @abstractmethod
    def judged_seconds(self) -> int:
        """How long the release is judged."""

    @abstractmethod
    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return the Rollout's ``strategy``."""

    @abstractmethod
    def beside(self, identity: Identity) -> str:
        """Return the name of the new release's own Service."""

    @property
    def pace(self) -> Pace:
        """Timing and limits of the measurements."""
        return Pace(
            window=self.window_seconds,
            baseline=self.window_seconds,
            interval=self.interval_seconds,
            failure_limit=self.failure_limit,
            inconclusive_limit=self.inconclusive_limit,
            least_requests=self.least_requests,
            least_failures=self.least_failures,
            count=None,
        )

    def objects(self, workload: Workload, traffic: Traffic, monitoring: Monitoring) -> list[Object]:
        """Return a Rollout, the Services of both releases, and the analysis."""
        if monitoring.query_url is None:
            raise ValueError("a judged rollout needs metrics; 'problems' reports it")
        margins = Margins(error=self.error_margin, latency=self.latency_ratio, bad=self.bad_margin)
        return [
            self._rollout(workload, traffic),
            service(workload),
            service(workload, self.beside(workload.identity)),
            comparison(workload, monitoring.query_url, margins, self.pace),
        ]

    def _rollout(self, workload: Workload, traffic: Traffic) -> Object:
        """Return the Rollout, which holds the pods' template instead of referring to a Deployment.

        So autoscaler, Argo CD and readers have a single object.
        """
        spec: dict[str, Any] = {
            "analysis": {"successfulRunHistoryLimit": 3, "unsuccessfulRunHistoryLimit": 3},
            "progressDeadlineAbort": True,
            "progressDeadlineSeconds": workload.progress_seconds,
            "revisionHistoryLimit": 5,
            # A rollback to one of the last releases skips steps and analysis.
            "rollbackWindow": {"revisions": 3},
            "selector": {"matchLabels": dict(workload.identity.selector)},
            "strategy": self.strategy(workload, traffic),
            "template": workload.own_template(),
        }
        return workload.identity.object(_API, "Rollout", spec=spec)

    def scaled(self, identity: Identity) -> Object:
        """Return the reference to the Rollout."""
        return {"apiVersion": _API, "kind": "Rollout", "name": identity.name}

    def services(self, identity: Identity) -> tuple[str, ...]:
        """Return the Services that requests are split between."""
        return (identity.name, self.beside(identity)) if self.shares_requests else (identity.name,)

    @property
    def abort_seconds(self) -> int:
        """The first window, then the tolerated failed measurements and one more."""
        measured = self.window_seconds + self.interval_seconds * (self.failure_limit + 1)
        return measured + REACTION_SECONDS

    def rollback_seconds(self, start_seconds: int) -> int:
        """Return the start time of the old release's pods, which start all at once."""
        return start_seconds + REACTION_SECONDS

    def problems(
        self,
        traffic: Traffic,
        autoscaling: Autoscaling,
        monitoring: Monitoring,
        environment: Environment,
        start_seconds: int,
    ) -> list[Problem]:
        """Return missing metrics or traffic splitting, and a rollback or an abort that takes too long."""
        problems = []
        if monitoring.query_url is None:
            reason = "a new release is judged by its metrics, and none are collected"
            problems.append(Problem("rollout", reason, ("monitoring=prometheus", "rollout=rolling")))
        if self.shares_requests and not traffic.splits:
            reason = "requests are split between two releases, which this traffic option cannot do"
            overrides = ("traffic=istio", "traffic=gateway-api", "rollout=blue-green")
            problems.append(Problem("rollout", reason, overrides))
        if self.abort_seconds > LIMIT_SECONDS:
            reason = f"an abort may take {self.abort_seconds} s, above {LIMIT_SECONDS} s"
            shorter = "rollout.window_seconds=120 rollout.interval_seconds=30 rollout.failure_limit=1"
            problems.append(Problem("rollout.window_seconds", reason, (shorter,)))
        return [*problems, *self._slow_rollback(environment, start_seconds)]

    def _slow_rollback(self, environment: Environment, start_seconds: int) -> list[Problem]:
        back = environment.sync_seconds + self.rollback_seconds(start_seconds)
        if back <= LIMIT_SECONDS:
            return []
        # A pod's start is as long for the fetch as for the load, in whole periods of a probe.
        fitting = (LIMIT_SECONDS - environment.sync_seconds - REACTION_SECONDS) // 20 * 10
        overrides = [f"deployment.startup_seconds={fitting}"] if fitting > 0 else []
        if back - environment.sync_seconds + _WEBHOOK_SECONDS <= LIMIT_SECONDS:
            overrides.append(f"environment.sync_seconds={_WEBHOOK_SECONDS}")
        if environment.sync_seconds + REACTION_SECONDS <= LIMIT_SECONDS:
            overrides.append("rollout=blue-green")  # keeps the old pods
        reason = (
            f"a rollback may take {back} s, above {LIMIT_SECONDS} s: {environment.sync_seconds} s until "
            f"Argo CD syncs (about {_WEBHOOK_SECONDS} s with a webhook) and {start_seconds} s to start pods"
        )
        return [Problem("rollout", reason, tuple(overrides))]
