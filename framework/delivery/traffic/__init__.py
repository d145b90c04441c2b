"""The base class of the traffic options: how requests reach a release's Services."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.manifests.identity import Identity, Object
from framework.manifests.values import Peer
from framework.manifests.workload import Workload


class Traffic(Component, ABC):
    """Routes to a release's Services."""

    routes: ClassVar[bool] = True
    """Whether requests from outside the cluster reach the release."""
    splits: ClassVar[bool] = False
    """Whether it can split requests between two Services, by weight and by header."""
    mirrors: ClassVar[bool] = False
    """Whether it can mirror requests to a second Service and discard the answers."""

    @property
    def callers(self) -> tuple[Peer, ...]:
        """Pods that forward the requests; the network policy lets them in."""
        return ()

    @abstractmethod
    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return the routes.

        Args:
            workload: the pods behind the Services.
            services: names of the Services that can receive requests, the stable one first.
            environment: the domain.
        """

    def routing(self, identity: Identity) -> Object:
        """Return Argo Rollouts' ``trafficRouting``, which moves requests between two Services.

        Only options with ``splits`` implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot split requests")

    def problems(self, environment: Environment) -> list[Problem]:
        """Return what keeps this option from working in *environment*."""
        return []
