"""The base class of the monitoring options."""

from abc import ABC, abstractmethod

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.manifests.identity import Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


class Monitoring(Component, ABC):
    """Monitors a release; rollouts and autoscalers query what it measures."""

    @property
    @abstractmethod
    def query_url(self) -> str | None:
        """URL of the PromQL API inside the cluster; None where nothing is measured."""

    @property
    def callers(self) -> tuple[Peer, ...]:
        """Pods that scrape the metrics; the network policy lets them in."""
        return ()

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Names of the Secrets that its objects refer to."""
        return ()

    @abstractmethod
    def objects(self, workload: Workload, environment: Environment) -> list[Object]:
        """Return the objects that scrape, alert and show dashboards."""

    def problems(self) -> list[Problem]:
        """Return what keeps this option from working."""
        return []
