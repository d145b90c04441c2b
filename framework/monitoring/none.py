"""No monitoring objects: the server still answers ``/metrics``."""

from framework.environment import Environment
from framework.manifests.identity import Object
from framework.manifests.workload import Workload
from framework.monitoring import Monitoring


class NoMonitoring(Monitoring):
    """Renders nothing that watches."""

    @property
    def query_url(self) -> str | None:
        """Nowhere."""
        return None

    def objects(self, workload: Workload, environment: Environment) -> list[Object]:
        """Return nothing."""
        return []
