"""Sealed Secrets: Secrets in Git, encrypted so that only one cluster can decrypt them.

``kubeseal`` creates them. This module reads, validates and renders them.
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
from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.delivery.secrets import Secrets
from framework.manifests.identity import Identity, Object

_KIND = ("bitnami.com/v1alpha1", "SealedSecret")
_SCOPE = "sealedsecrets.bitnami.com/"


class SealedSecret(Secrets):
    """One SealedSecret per Secret, from ``<folder>/<namespace>/<secret>.yaml``.

    Releases that name the same Secret share it.
    """

    folder: str = Field(default="secrets", min_length=1)
    """Folder of the sealed files, relative to the working folder."""

    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return the sealed objects with the labels of *identity*.

        Raises:
            PlanError: a file is missing, or does not hold the sealed Secret of that name, type and namespace.
        """
        return [self._sealed(identity, name, kind) for name, kind in wanted.items()]

    def problems(self, wanted: Mapping[str, str], environment: Environment) -> list[Problem]:
        """Return every file that is missing or wrong."""
        problems: list[Problem] = []
        for name, kind in wanted.items():
            try:
                self._read(environment.namespace, name, kind)
            except PlanError as error:
                problems += error.problems
        return problems

    def _sealed(self, identity: Identity, name: str, kind: str) -> Object:
        sealed = self._read(identity.namespace, name, kind)
        annotations = sealed["metadata"].get("annotations") or {}
        # The scope that it was sealed for, without which the cluster cannot decrypt it.
        scope = {key: text for key, text in annotations.items() if key.startswith(_SCOPE)}
        metadata: Object = {"name": name, "namespace": identity.namespace}
        if scope:
            metadata["annotations"] = scope
        template = {"metadata": metadata, "type": kind}
        spec = {"encryptedData": dict(sealed["spec"]["encryptedData"]), "template": template}
        return identity.object(*_KIND, name=name, annotations=scope, spec=spec)

    def _read(self, namespace: str, name: str, kind: str) -> Object:
        """Return the object in the file after validation."""
        path = Path(self.folder) / namespace / f"{name}.yaml"

        def refused(reason: str) -> PlanError:
            seal = f"seal it again: kubeseal --namespace {namespace} --format yaml < secret.yaml > {path}"
            return PlanError(problems=[Problem("secrets", f"{path}: {reason}", advice=seal)])

        try:
            body = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise refused(f"there is no sealed Secret '{name}'") from None
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise refused(f"cannot be read: {first_line(error)}") from None
        if reason := _invalid_reason(body, namespace, name, kind):
            raise refused(reason)
        return dict(body)


def _invalid_reason(body: Any, namespace: str, name: str, kind: str) -> str | None:
    """Return why *body* is not the expected sealed Secret; None where it is."""
    match body:
        case {
            "apiVersion": version,
            "kind": body_kind,
            "metadata": {"name": str()} as metadata,
            "spec": dict(spec),
        }:
            template, encrypted = spec.get("template") or {}, spec.get("encryptedData")
        case _:
            return "not a SealedSecret"
    if (version, body_kind) != _KIND:
        return f"holds a {body_kind} of {version}, not a SealedSecret; its values can be plain text"
    if (metadata["name"], metadata.get("namespace")) != (name, namespace):
        return f"is sealed for '{metadata.get('namespace')}/{metadata['name']}'"
    if template.get("type", "Opaque") != kind:
        return f"is of type {template.get('type', 'Opaque')}, not {kind}"
    if "data" in template or "stringData" in template or not isinstance(encrypted, dict) or not encrypted:
        return "holds plain-text values, or none at all"
    for key, value in encrypted.items():
        if not _is_sealed(value):
            return f"the value of '{key}' is not encrypted"
    return None


def _is_sealed(value: Any) -> bool:
    """Return whether *value* has kubeseal's layout: length of the session key, session key, ciphertext."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return False
    length = int.from_bytes(raw[:2], "big")
    return length in (256, 384, 512) and len(raw) >= 2 + length + 16
