"""Nothing makes the Secrets: they lie in the namespace already."""

from collections.abc import Mapping
from typing import ClassVar

from framework.delivery.secrets import Secrets
from framework.manifests.identity import Identity, Object


class NoSecrets(Secrets):
    """Trusts that somebody else keeps the Secrets."""

    creates: ClassVar[bool] = False

    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return nothing."""
        return []
