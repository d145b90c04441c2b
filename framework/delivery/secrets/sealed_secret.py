"""Sealed Secrets: Secrets that lie in Git, encrypted for one cluster alone.

Only the cluster's own key opens them, and ``kubeseal`` makes them; here they are read, checked and
rendered beside what refers to them.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from framework.core.error_text import first_line
from framework.core.errors import PlanError
from framework.delivery.environment import Environment
from framework.delivery.secrets import Secrets
from framework.manifests.identity import Identity, Object

_KIND = ("bitnami.com/v1alpha1", "SealedSecret")
_SCOPE = "sealedsecrets.bitnami.com/"


class SealedSecret(Secrets):
    """One SealedSecret a Secret, from ``<folder>/<namespace>/<secret>.yaml``.

    Two releases of one namespace may not name the same Secret: each would own it.
    """

    folder: str = Field(default="secrets", min_length=1)
    """The folder of the sealed files; relative to the folder that ``run`` is called in."""

    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return the sealed objects with the release's labels.

        Raises:
            PlanError: a file is missing or is no sealed Secret of that name, type and namespace.
        """
        return [self._sealed(identity, name, kind) for name, kind in wanted.items()]

    def problems(self, wanted: Mapping[str, str], environment: Environment) -> list[str]:
        """Name every file that is missing or wrong."""
        found = []
        for name, kind in wanted.items():
            try:
                self._read(environment.namespace, name, kind)
            except PlanError as error:
                found.append(str(error))
        return found

    def _sealed(self, identity: Identity, name: str, kind: str) -> Object:
        sealed = self._read(identity.namespace, name, kind)
        given = sealed["metadata"].get("annotations") or {}
        # They say for how many places it was sealed, without which the cluster could not open it.
        scope = {key: text for key, text in given.items() if key.startswith(_SCOPE)}
        metadata: Object = {"name": name, "namespace": identity.namespace}
        if scope:
            metadata["annotations"] = scope
        template = {"metadata": metadata, "type": kind}
        spec = {"encryptedData": dict(sealed["spec"]["encryptedData"]), "template": template}
        return identity.object(*_KIND, name=name, annotations=scope, spec=spec)

    def _read(self, namespace: str, name: str, kind: str) -> Object:
        """Return the object in the file, checked."""
        path = Path(self.folder) / namespace / f"{name}.yaml"
        seal = f"seal it again: kubeseal --namespace {namespace} --format yaml < secret.yaml > {path}"
        try:
            body = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PlanError(f"{path}: the Secret '{name}' is not sealed there; {seal}") from None
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise PlanError(f"{path}: cannot be read: {first_line(error)}; {seal}") from None
        if wrong := _wrong(body, namespace, name, kind):
            raise PlanError(f"{path}: {wrong}; {seal}")
        return dict(body)


def _wrong(body: Any, namespace: str, name: str, kind: str) -> str | None:
    """Return why *body* is not the sealed Secret that is wanted."""
    match body:
        case {
            "apiVersion": version,
            "kind": what,
            "metadata": {"name": str()} as metadata,
            "spec": dict(spec),
        }:
            template, encrypted = spec.get("template") or {}, spec.get("encryptedData")
        case _:
            return "not a SealedSecret"
    if (version, what) != _KIND:
        return f"holds a {what} of {version}, not a SealedSecret, and may be in plain text"
    if (metadata["name"], metadata.get("namespace")) != (name, namespace):
        return f"is sealed for '{metadata.get('namespace')}/{metadata['name']}'"
    if template.get("type", "Opaque") != kind:
        return f"is of type {template.get('type', 'Opaque')}, not {kind}"
    if "data" in template or "stringData" in template or not isinstance(encrypted, dict) or not encrypted:
        return "holds values in plain text, or none"
    for key, value in encrypted.items():
        if not _is_sealed(value):
            return f"the value of '{key}' is not encrypted"
    return None


def _is_sealed(value: Any) -> bool:
    """Tell whether *value* is laid out as kubeseal does: a session key, after its length, then the text."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return False
    length = int.from_bytes(raw[:2], "big")
    return length in (256, 384, 512) and len(raw) >= 2 + length + 16
