"""The base of every traffic option: how requests from outside the cluster's Services reach a release."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from framework.core.component import Component
from framework.delivery.environment import Environment
from framework.manifests.identity import Identity, Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


class Traffic(Component, ABC):
    """Routes to a release's Services."""

    routes: ClassVar[bool] = True
    """Whether requests from outside the cluster reach the release."""
    splits: ClassVar[bool] = False
    """Whether it can share requests out between two Services: by weight and by a header."""
    mirrors: ClassVar[bool] = False
    """Whether it can send copies of requests to a second Service, and throw their answers away."""

    @property
    def callers(self) -> tuple[Peer, ...]:
        """Who brings the requests, and so must be let in by the network policy."""
        return ()

    @abstractmethod
    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return the routes.

        Args:
            workload: the pods behind the Services.
            services: the Services that requests may be sent to, the serving release's first.
            environment: gives the domain.
        """

    def routing(self, identity: Identity) -> Object:
        """Return how Argo Rollouts moves requests between two Services: its ``trafficRouting``.

        Only for options that can (``splits``).
        """
        raise NotImplementedError(f"{type(self).__name__} cannot share requests out")

    def problems(self, environment: Environment) -> list[str]:
        """Return what keeps this option out of *environment*, each with the override that mends it."""
        return []
