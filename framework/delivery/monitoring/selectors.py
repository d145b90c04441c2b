"""PromQL selectors of one release: for its own metrics, and for exporters' metrics about its pods.

The ServiceMonitor adds the label ``release`` to every series of a release, the cluster adds ``namespace``.
Exporters' metrics are matched by pod name. This module does not know the queries.
"""

from dataclasses import dataclass

from framework.manifests.identity import Identity
from framework.manifests.server_signals import Signals


@dataclass(frozen=True)
class MonitoredRelease:
    """A release in one environment, and the selectors of its series."""

    name: str
    namespace: str
    signals: Signals
    certified: tuple[str, ...] = ()
    """Further namespaces whose certificates it depends on, such as the Gateway's."""

    @classmethod
    def of(cls, identity: Identity, signals: Signals, certified: tuple[str, ...] = ()) -> "MonitoredRelease":
        """Return the release with *identity*'s name and namespace."""
        return cls(identity.name, identity.namespace, signals, certified)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every recorded series and alert."""
        return {"namespace": self.namespace, "release": self.name}

    @property
    def selector(self) -> str:
        """Matchers of its scraped series.

        They exclude a shadow, which gets copies of requests behind a Service of its own and whose answers
        are discarded. Only the rollout evaluates it.
        """
        return f'{self._own},service!="{self.name}-shadow"'

    @property
    def _own(self) -> str:
        return ",".join(f'{key}="{value}"' for key, value in self.labels.items())

    def pods(self, prefix: str = "") -> str:
        """Return matchers of an exporter's series about its pods.

        Pods of a Deployment or Rollout are named after it, with two random suffixes. KServe's Deployment
        has the suffix ``predictor``.

        Args:
            prefix: prefix of the labels ``namespace`` and ``pod``, such as ``exported_``, which Prometheus
                adds where the two name the exporter itself.
        """
        pods = f"{self.name}(-predictor)?-[a-z0-9]+-[a-z0-9]{{5}}"
        return f'{prefix}namespace="{self.namespace}",{prefix}pod=~"{pods}"'

    def recorded(self, name: str, more: str = "") -> str:
        """Return the recorded series *name* of this release, with *more* matchers."""
        return f"{name}{{{self._own}{',' if more else ''}{more}}}"
