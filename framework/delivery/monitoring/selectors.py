"""Whose series are asked for: the selectors of one release, for its own metrics and for others' exporters.

The ServiceMonitor gives every series of a release the label ``release``, the cluster gives ``namespace``.
What exporters say of pods is found by the pods' names. It does not know what is asked.
"""

from dataclasses import dataclass

from framework.manifests.identity import Identity
from framework.manifests.signals import Signals


@dataclass(frozen=True)
class Watched:
    """One release in one environment."""

    name: str
    namespace: str
    signals: Signals
    certified: tuple[str, ...] = ()
    """Namespaces whose certificates it depends on besides its own: the Gateway's."""

    @classmethod
    def of(cls, identity: Identity, signals: Signals, certified: tuple[str, ...] = ()) -> "Watched":
        """Return what is watched of *identity*'s pods."""
        return cls(identity.name, identity.namespace, signals, certified)

    @property
    def labels(self) -> dict[str, str]:
        """The labels that name it on every recorded series and alert."""
        return {"namespace": self.namespace, "release": self.name}

    @property
    def selector(self) -> str:
        """What stands between the braces of its scraped series.

        What a shadow is sent are copies, whose answers nobody gets; its pods are behind a Service of
        their own. A rollout looks at them, nobody else.
        """
        return f'{self._own},service!="{self.name}-shadow"'

    @property
    def _own(self) -> str:
        return ",".join(f'{key}="{value}"' for key, value in self.labels.items())

    def pods(self, prefix: str = "") -> str:
        """Return the same for what an exporter says of its pods.

        A Deployment's or a Rollout's pods are named after it, with two random parts; KServe's Deployment
        is named after the release and the word ``predictor``. *prefix* stands before the two labels: an
        exporter's own, where Prometheus gave those names to the exporter itself.
        """
        pods = f"{self.name}(-predictor)?-[a-z0-9]+-[a-z0-9]{{5}}"
        return f'{prefix}namespace="{self.namespace}",{prefix}pod=~"{pods}"'

    def recorded(self, name: str, more: str = "") -> str:
        """Return a recorded series of this release; *more* are further matchers."""
        return f"{name}{{{self._own}{',' if more else ''}{more}}}"
