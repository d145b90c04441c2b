"""The base of the rollouts that Argo Rollouts drives and measurements judge.

All have the same pods, Services and judge, and the same sum of seconds; which requests the new release
gets meanwhile, each says by itself.
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
from framework.delivery.rollout.analysis import Margins, Pace, judgement
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import service
from framework.manifests.workload import Workload

LIMIT_SECONDS = 300
"""What an abort and a rollback may take: five minutes."""
_WEBHOOK_SECONDS = 10
"""Time until Argo CD syncs where a webhook notifies it."""
REACTION_SECONDS = 10
"""What the controller takes to act, and proxies to hear of it."""
_API = "argoproj.io/v1alpha1"


class Judged(Rollout):
    """A Rollout of Argo Rollouts, ended by itself where the new release is worse than the old one."""

    carries_files: ClassVar[bool] = True
    shares_requests: ClassVar[bool] = True
    """Whether requests are shared out between two Services, which not every traffic option can."""

    interval_seconds: Annotated[int, Field(ge=5, le=600)] = 30
    """Time from one measurement to the next."""
    window_seconds: Annotated[int, Field(ge=30, le=3600)] = 120
    """What a measurement looks back at; the first waits for a whole one. Several scrapes must fit in."""
    failure_limit: Annotated[int, Field(ge=0, le=10)] = 1
    """Bad measurements that are borne; one more ends the rollout and sends all requests back."""
    inconclusive_limit: Annotated[int, Field(ge=0)] = 10
    """Measurements with too few requests that are borne; one more pauses the rollout for a human."""
    least_requests: Annotated[int, Field(ge=1)] = 20
    """Requests in a window that make a measurement; below them nothing is proved."""
    least_failures: Annotated[int, Field(ge=1)] = 3
    """Failed requests, or bad answers, in a window below which no share of them is too high: windows overlap,
    so a single one is seen in several measurements."""
    error_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How far the new release's share of failed requests may lie above the old one's."""
    latency_ratio: Annotated[float, Field(gt=0)] = 1.5
    """The new release's 99th percentile of the answering time, as a multiple of the old one's, at most."""
    bad_margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How far the new release's share of plainly bad answers may lie above the old one's: the quality that
    is seen without a label. Not asked of servers that do not count such answers."""

    @model_validator(mode="after")
    def _something_is_proved(self) -> "Judged":
        most = (self.judged_seconds - self.window_seconds) // self.interval_seconds
        if self.inconclusive_limit >= most:
            raise PydanticCustomError(
                "nothing_proved",
                "'inconclusive_limit' ({limit}) lets a release through that nobody measured, since there are "
                "but {most} measurements",
                {"limit": self.inconclusive_limit, "most": most},
            )
        return self

    @property
    @abstractmethod
    def judged_seconds(self) -> int:
        """For how long is measured."""

    @abstractmethod
    def strategy(self, workload: Workload, traffic: Traffic) -> Object:
        """Return the Rollout's ``strategy``."""

    @abstractmethod
    def beside(self, identity: Identity) -> str:
        """Return the name of the new release's own Service."""

    @property
    def pace(self) -> Pace:
        """When and how often is measured."""
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

    def objects(
        self, workload: Workload, replicas: int | None, traffic: Traffic, monitoring: Monitoring
    ) -> list[Object]:
        """Return a Rollout, the Services of both releases, and the judge."""
        if monitoring.query_url is None:
            raise ValueError("a judged rollout needs measurements; ask 'problems' first")
        margins = Margins(error=self.error_margin, latency=self.latency_ratio, bad=self.bad_margin)
        return [
            self._rollout(workload, replicas, traffic),
            service(workload),
            service(workload, self.beside(workload.identity)),
            judgement(workload, monitoring.query_url, margins, self.pace),
        ]

    def _rollout(self, workload: Workload, replicas: int | None, traffic: Traffic) -> Object:
        """Return the Rollout, with the pods' template in it rather than a Deployment beside it.

        So an autoscaler, Argo CD and a reader have one object to look at, and nobody scales the other.
        """
        spec: dict[str, Any] = {
            "analysis": {"successfulRunHistoryLimit": 3, "unsuccessfulRunHistoryLimit": 3},
            "progressDeadlineAbort": True,
            "progressDeadlineSeconds": workload.progress_seconds,
            "revisionHistoryLimit": 5,
            # The way back to one of the last releases skips steps and judges.
            "rollbackWindow": {"revisions": 3},
            "selector": {"matchLabels": dict(workload.identity.selector)},
            "strategy": self.strategy(workload, traffic),
            "template": workload.own_template(),
        }
        if replicas is not None:
            spec["replicas"] = replicas
        return workload.identity.object(_API, "Rollout", spec=spec)

    def scaled(self, identity: Identity) -> Object:
        """Return the reference to the Rollout."""
        return {"apiVersion": _API, "kind": "Rollout", "name": identity.name}

    def services(self, identity: Identity) -> tuple[str, ...]:
        """Return the Services between which requests are shared out."""
        return (identity.name, self.beside(identity)) if self.shares_requests else (identity.name,)

    @property
    def abort_seconds(self) -> int:
        """Wait for a first window, then as many measurements as are borne and one more."""
        measured = self.window_seconds + self.interval_seconds * (self.failure_limit + 1)
        return measured + REACTION_SECONDS

    def rollback_seconds(self, start_seconds: int) -> int:
        """Return the time in which the old release's pods, started all at once, are ready."""
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
