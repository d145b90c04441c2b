"""The base of every traffic option: how requests from outside the cluster's Services reach a release."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from framework.core.component import Component
from framework.environment import Environment
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class Traffic(Component, ABC):
    """Routes to a release's Services."""

    @abstractmethod
    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return the routes.

        Args:
            workload: the pods behind the Services.
            services: the Services that requests may be sent to, the serving release's first.
            environment: gives the domain.
        """

    def problems(self, environment: Environment) -> list[str]:
        """Return what keeps this option out of *environment*, each with the override that mends it."""
        return []
