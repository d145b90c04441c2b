"""No routes: callers inside the cluster use the Service itself."""

from collections.abc import Sequence

from framework.environment import Environment
from framework.manifests.identity import Object
from framework.manifests.workload import Workload
from framework.traffic import Traffic


class NoTraffic(Traffic):
    """Leaves the Service as it is."""

    def objects(self, workload: Workload, services: Sequence[str], environment: Environment) -> list[Object]:
        """Return nothing."""
        return []
