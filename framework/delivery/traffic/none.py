"""No routes: callers inside the cluster use the Service directly."""

from collections.abc import Sequence
from typing import ClassVar

from framework.delivery.environment import Environment
from framework.delivery.traffic import Traffic
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class NoTraffic(Traffic):
    """Renders no routes."""

    routes: ClassVar[bool] = False

    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return nothing."""
        return []
