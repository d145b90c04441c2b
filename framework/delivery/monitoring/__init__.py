"""The base of every monitoring option: what watches a release once it serves."""

from abc import ABC, abstractmethod

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.manifests.identity import Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


class Monitoring(Component, ABC):
    """Watches a release, and answers those who decide by measurements."""

    @property
    @abstractmethod
    def query_url(self) -> str | None:
        """Where PromQL is answered inside the cluster; None where nothing is measured."""

    @property
    def callers(self) -> tuple[Peer, ...]:
        """Who reads the pods' metrics, and so must be let in by the network policy."""
        return ()

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The Secrets that its objects refer to."""
        return ()

    @abstractmethod
    def objects(self, workload: Workload, environment: Environment) -> list[Object]:
        """Return what scrapes, alerts and shows."""

    def problems(self) -> list[Problem]:
        """Return what keeps this option from working."""
        return []
