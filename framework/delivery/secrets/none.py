"""No objects: the Secrets already exist in the namespace."""

from collections.abc import Mapping
from typing import ClassVar

from framework.delivery.secrets import Secrets
from framework.manifests.identity import Identity, Object


class NoSecrets(Secrets):
    """Expects the Secrets in the namespace."""

    creates: ClassVar[bool] = False

    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return nothing."""
        return []
