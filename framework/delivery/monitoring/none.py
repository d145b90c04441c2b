"""No monitoring objects: the server still answers ``/metrics``."""

from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.manifests.identity import Object
from framework.manifests.workload import Workload


class NoMonitoring(Monitoring):
    """Renders no monitoring objects."""

    @property
    def query_url(self) -> str | None:
        """None: nothing is measured."""
        return None

    def objects(self, workload: Workload, environment: Environment) -> list[Object]:
        """Return nothing."""
        return []
