"""The base of every secrets option: where the Secrets come from that a recipe names and never holds."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from framework.core.component import Component
from framework.manifests.identity import Identity, Object


class Secrets(Component, ABC):
    """Brings Secrets into the namespace."""

    @abstractmethod
    def objects(self, identity: Identity, names: Sequence[str]) -> list[Object]:
        """Return what makes the Secrets *names*, which the release's pods refer to."""

    def problems(self, names: Sequence[str]) -> list[str]:
        """Return what keeps the Secrets *names* from being made, each with the override that mends it."""
        return []
