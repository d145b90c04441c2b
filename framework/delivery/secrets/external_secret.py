"""External Secrets Operator: each Secret is copied from a vault by an ExternalSecret.

What vault that is, and how it is opened, the cluster's own SecretStore says.
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

_PLACES = ("namespace", "release", "secret")


def _only_known_places(pattern: str) -> str:
    named = re.findall(r"\{(.*?)\}", pattern)
    if "secret" not in named or not set(named) <= set(_PLACES):
        raise PydanticCustomError(
            "remote_key", "should hold {secret}, and of others at most {namespace} and {release}"
        )
    return pattern


class ExternalSecret(Secrets):
    """One ExternalSecret a Secret; all fields that the vault keeps under the key become its keys.

    Two releases of one namespace may not name the same Secret: each would own it.
    """

    store: ObjectName | None = None
    """The SecretStore's name; it must be given."""
    store_kind: Literal["ClusterSecretStore", "SecretStore"] = "ClusterSecretStore"
    """Whether the store serves all namespaces or the release's own."""
    remote_key: Annotated[str, AfterValidator(_only_known_places)] = "{namespace}/{secret}"
    """Where the vault keeps it: ``{namespace}``, ``{release}`` and ``{secret}`` stand for the names."""
    refresh_minutes: Annotated[int, Field(ge=1, le=59)] | Annotated[int, Field(ge=60, multiple_of=60)] = 60
    """Minutes between two looks into the vault; from an hour on whole hours."""

    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return one ExternalSecret for each Secret."""
        return [self._external(identity, name, kind) for name, kind in wanted.items()]

    def problems(self, wanted: Mapping[str, str], environment: Environment) -> list[Problem]:
        """Return that no store is configured."""
        if self.store is not None or not wanted:
            return []
        return [Problem("secrets.store", "no SecretStore is named", ("secrets.store=<name>",))]

    def _external(self, identity: Identity, name: str, kind: str) -> Object:
        names = {"namespace": identity.namespace, "release": identity.name, "secret": name}
        key = re.sub(r"\{(.*?)\}", lambda found: names[found[1]], self.remote_key)
        hours, minutes = divmod(self.refresh_minutes, 60)
        # With what the API server would fill in, so that Git and cluster are equal.
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
