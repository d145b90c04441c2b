"""The provenance of a release: an in-toto statement with an SLSA predicate, as plain data.

It says what the lock and the config say. It is not signed, and it does not know whether a step was cached:
the builder is the one that released. Formats: in-toto Statement v1, SLSA provenance v1.
"""

from typing import Any

from framework import __version__
from framework.core.release import Release
from framework.report.materials import Material, Materials

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
_PAGE = "https://gitune.github.io/gitune/evidence/"
BUILD_TYPE = f"{_PAGE}#build-type"
_MACHINE = f"{_PAGE}#builder"
"""The builder of a release that was built by hand, outside a workflow."""


def provenance(release: Release, materials: Materials, builder: str | None = None) -> dict[str, Any]:
    """Return the statement about *release*.

    Args:
        release: as its lock states it.
        materials: what it is made of.
        builder: the URI of the workflow that released; None if no service vouches for it.
    """
    return {
        "_type": STATEMENT,
        "subject": [_subject(release)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _external(release),
                "internalParameters": {**_internal(release), "launcher": materials.launcher},
                "resolvedDependencies": _dependencies(release, materials),
            },
            "runDetails": {"builder": {"id": builder or _MACHINE, "version": {"gitune": __version__}}},
        },
    }


def statement_contradiction(statement: Any, release: Release) -> str:
    """Return what in *statement* the lock of *release* does not say; empty if they agree."""
    definition = statement["predicate"]["buildDefinition"]
    internal = {key: value for key, value in definition["internalParameters"].items() if key != "launcher"}
    dependencies = definition["resolvedDependencies"]
    pairs = {
        "subject": (statement["subject"], [_subject(release)]),
        "externalParameters": (definition["externalParameters"], _external(release)),
        "internalParameters": (internal, _internal(release)),
        "source": ([item for item in dependencies if item["name"] == "source"], _source(release)),
        "prepared rows": (
            [item for item in dependencies if item["name"] == "prepared rows"],
            [_rows(release)],
        ),
    }
    return ", ".join(name for name, (found, wanted) in pairs.items() if found != wanted)


def _subject(release: Release) -> dict[str, Any]:
    return {
        "name": "SHA256SUMS",  # the digest of a published folder is that of its list
        "uri": release.model_uri,
        "digest": {"sha256": _hex(release.digest)},
        "annotations": {"release": release.name},
    }


def _external(release: Release) -> dict[str, Any]:
    return _known(
        recipe=release.recipe,
        name=release.name,
        environment=release.built_for,
        overrides=None if release.overrides is None else list(release.overrides),
    )


def _internal(release: Release) -> dict[str, Any]:
    return _known(
        plan=release.plan,
        config_digest=release.config_digest,
        steps=release.steps,
        candidate=release.candidate or None,
        engine=release.engine,
    )


def _source(release: Release) -> list[dict[str, Any]]:
    if release.commit is None:
        return []
    changed = release.changed
    annotations = _known(clean=None if changed is None else not changed)
    return [{"name": "source", "digest": {"gitCommit": release.full_commit}, "annotations": annotations}]


def _rows(release: Release) -> dict[str, Any]:
    return {"name": "prepared rows", "digest": {"sha256": _hex(release.data_digest)}}


def _dependencies(release: Release, materials: Materials) -> list[dict[str, Any]]:
    found = _source(release)
    found.append(_dependency("base model", materials.model))
    found += [_dependency("teacher", teacher) for teacher in materials.teachers]
    found += [_dependency("data", data) for data in materials.data]
    found.append(_rows(release))
    found += [
        {"name": name, "uri": package_url(name, version)} for name, version in materials.libraries.items()
    ]
    return found


def _dependency(role: str, material: Material) -> dict[str, Any]:
    digest = {"sha256": material.sha256} if material.sha256 else None
    address = material.address
    if digest is None and address is not None and address.is_commit:
        digest = {"gitCommit": address.revision}
    return _known(
        name=role,
        uri=material.uri,
        digest=digest,
        annotations=_known(license=material.license, origin=material.url),
    )


def package_url(name: str, version: str) -> str:
    """Return the package URL of a Python distribution.

    >>> package_url("Some_Package", "1.0")
    'pkg:pypi/some-package@1.0'
    """
    return f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
