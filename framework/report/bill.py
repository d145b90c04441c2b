"""The bill of materials of a release: a CycloneDX 1.6 ML-BOM, as plain data.

It has no time and no random number, so equal releases have equal bills.
"""

import uuid
from typing import Any

from framework import __version__
from framework.core.licenses import is_unknown, spdx
from framework.core.release import Release
from framework.report.materials import Material, Materials
from framework.report.statement import package_url

_RELEASE, _MODEL = "release", "base-model"
_NAMESPACE = uuid.UUID("5a0f5b5e-6f0a-5d0c-9d0e-0d6f3c1f7a11")


def bill_of_materials(release: Release, materials: Materials) -> dict[str, Any]:
    """Return the bill of *release*, which is made of *materials*."""
    models = {_MODEL: materials.model}
    models |= {f"teacher-{number}": model for number, model in enumerate(materials.teachers)}
    data = {f"data-{number}": source for number, source in enumerate(materials.data)}
    libraries = [
        {
            "type": "library",
            "bom-ref": package_url(name, version),
            "name": name,
            "version": version,
            "purl": package_url(name, version),
        }
        for name, version in materials.libraries.items()
    ]
    components = [
        *(_component(ref, "machine-learning-model", model) for ref, model in models.items()),
        *(_data(ref, source) for ref, source in data.items()),
        *libraries,
    ]
    refs = [str(component["bom-ref"]) for component in components]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": _serial_number(release),
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "gitune", "version": __version__}],
            },
            "component": _released(release, materials.model, list(data)),
        },
        "components": components,
        "dependencies": [{"ref": _RELEASE, "dependsOn": refs}, *({"ref": ref} for ref in refs)],
    }


def bill_contradiction(bill: Any, release: Release) -> str:
    """Return what in *bill* the lock of *release* does not say; empty if they agree."""
    component = bill["metadata"]["component"]
    analysis = component["modelCard"].get("quantitativeAnalysis", {})
    pairs = {
        "serialNumber": (bill["serialNumber"], _serial_number(release)),
        "name": (component["name"], release.name),
        "version": (component["version"], release.digest),
        "performanceMetrics": (analysis.get("performanceMetrics", []), _metrics(release)),
        "properties": (component["properties"], _properties(release)),
    }
    return ", ".join(name for name, (found, wanted) in pairs.items() if found != wanted)


def _released(release: Release, base: Material, data: list[str]) -> dict[str, Any]:
    """Return the tuned model with its card."""
    metrics = _metrics(release)
    card: dict[str, Any] = {
        "modelParameters": {"task": release.task, "datasets": [{"ref": ref} for ref in data]},
    }
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return {
        "type": "machine-learning-model",
        "bom-ref": _RELEASE,
        "name": release.name,
        "version": release.digest,
        "hashes": [{"alg": "SHA-256", "content": release.digest.removeprefix("sha256:")}],
        "externalReferences": [{"type": "distribution", "url": release.model_uri}],
        "pedigree": {"ancestors": [_component("ancestor", "machine-learning-model", base)]},
        "modelCard": card,
        "properties": _properties(release),
    }


def _serial_number(release: Release) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, release.seal)}"


def _metrics(release: Release) -> list[dict[str, str]]:
    return [
        {"type": metric, "value": repr(value)}
        for name, value in sorted(release.metrics.items())
        for candidate, _, metric in [name.partition(".")]
        if candidate in release.released
    ]


def _properties(release: Release) -> list[dict[str, str]]:
    facts = {
        "recipe": release.recipe,
        "plan": release.plan,
        "commit": release.full_commit,
        "config-digest": release.config_digest or "",
        "data-digest": release.data_digest,
        "candidate": release.candidate,
        "engine": release.engine,
    }
    return [{"name": f"gitune:{name}", "value": value} for name, value in facts.items() if value]


def _data(ref: str, source: Material) -> dict[str, Any]:
    content = {"type": "dataset", "name": source.name, "contents": {"url": source.uri}}
    return {**_component(ref, "data", source), "data": [content]}


def _component(ref: str, kind: str, material: Material) -> dict[str, Any]:
    component: dict[str, Any] = {"type": kind, "bom-ref": ref, "name": material.name}
    if material.address is not None:
        component["version"] = material.address.revision
    if material.sha256:
        component["hashes"] = [{"alg": "SHA-256", "content": material.sha256}]
    if material.license is not None and not is_unknown(material.license):
        known = spdx(material.license)
        component["licenses"] = [{"license": {"id": known} if known else {"name": material.license}}]
    component["externalReferences"] = [{"type": "distribution", "url": material.uri}]
    return component
