"""The files below ``environments/`` that Argo CD syncs: one rule for its ApplicationSet and our checks."""

from collections.abc import Iterator
from pathlib import Path

from framework.manifests.identity import SHARED
from framework.render import APP, shared_by

GENERATOR = f"*/*/{APP}"
"""Each such file makes an Application of its folder. In the Git generator, ``*`` also matches slashes,
and each environment's set has its name in place of the first."""
MANIFESTS = "*.yaml"
"""What an Application takes from its folder, without those below."""


def synced_folders(environments: Path) -> Iterator[Path]:
    """Yield each folder of an Application, relative to *environments*, sorted.

    Git does not follow links to folders, so neither does this.
    """
    for app in sorted(environments.rglob(APP)):
        folder = app.parent.relative_to(environments)
        if len(folder.parts) >= GENERATOR.count("/"):
            yield folder


def synced_files(folder: Path) -> list[str]:
    """Return the names of the files that an Application takes from *folder*, its ``app.json`` first."""
    return [APP, *sorted(file.name for file in folder.glob(MANIFESTS) if not file.is_dir())]


def extra_files(folder: Path) -> list[str]:
    """Return the names of the files in *folder*, which has no lock, that Argo CD syncs without a release.

    Raises:
        ReleaseError: the ``app.json`` of another release cannot be read.
    """
    files = synced_files(folder)
    if folder.name != SHARED:
        return files
    used = shared_by(folder.parent)
    return [file for file in files if file not in used and (file != APP or not used)]
