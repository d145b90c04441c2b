"""External Secrets Operator: an ExternalSecret copies each Secret from a vault.

The cluster's SecretStore configures the vault and its credentials.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.delivery.secrets import Secrets
from framework.manifests.identity import Identity, Object
from framework.manifests.values import ObjectName

_PLACEHOLDERS = ("namespace", "release", "secret")


def _known_placeholders(pattern: str) -> str:
    used = re.findall(r"\{(.*?)\}", pattern)
    if "secret" not in used or not set(used) <= set(_PLACEHOLDERS):
        raise PydanticCustomError(
            "remote_key", "should contain {secret}; only {namespace} and {release} are allowed besides"
        )
    return pattern


class ExternalSecret(Secrets):
    """One ExternalSecret per Secret; all fields under the vault's key become its keys.

    Releases that name the same Secret share it, unless the vault's key depends on the release.
    """

    store: ObjectName | None = None
    """The SecretStore's name; required."""
    store_kind: Literal["ClusterSecretStore", "SecretStore"] = "ClusterSecretStore"
    """Whether the store serves all namespaces or only the release's own."""
    remote_key: Annotated[str, AfterValidator(_known_placeholders)] = "{namespace}/{secret}"
    """The vault's key; ``{namespace}``, ``{release}`` and ``{secret}`` are replaced by the names."""
    refresh_minutes: Annotated[int, Field(ge=1, le=59)] | Annotated[int, Field(ge=60, multiple_of=60)] = 60
    """Minutes between two reads from the vault; below 60, or a multiple of 60."""

    @property
    def shared(self) -> bool:
        """Whether the vault's key is the same for every release."""
        return "{release}" not in self.remote_key

    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return one ExternalSecret per Secret."""
        return [self._external(identity, name, kind) for name, kind in wanted.items()]

    def problems(self, wanted: Mapping[str, str], environment: Environment) -> list[Problem]:
        """Return that no store is configured."""
        if self.store is not None or not wanted:
            return []
        return [Problem("secrets.store", "no SecretStore is named", ("secrets.store=<name>",))]

    def _external(self, identity: Identity, name: str, kind: str) -> Object:
        names = {"namespace": identity.namespace, "release": identity.name, "secret": name}
        key = re.sub(r"\{(.*?)\}", lambda match: names[match[1]], self.remote_key)
        hours, minutes = divmod(self.refresh_minutes, 60)
        # Includes the API server's default values, so that Argo CD sees no difference.
        extract = {
            "conversionStrategy": "Default",
            "decodingStrategy": "None",
            "key": key,
            "metadataPolicy": "None",
        }
        spec = {
            "dataFrom": [{"extract": extract}],
            "refreshInterval": f"{hours}h{minutes}m0s" if hours else f"{minutes}m0s",
            "refreshPolicy": "Periodic",
            "secretStoreRef": {"kind": self.store_kind, "name": self.store},
            "target": {
                "creationPolicy": "Owner",
                "deletionPolicy": "Retain",
                "name": name,
                "template": {"engineVersion": "v2", "mergePolicy": "Replace", "type": kind},
            },
        }
        return identity.object("external-secrets.io/v1", "ExternalSecret", name=name, spec=spec)
