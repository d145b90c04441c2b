"""The files below ``environments/`` that Argo CD syncs: one rule for its ApplicationSet and our checks."""

from collections.abc import Iterator
from pathlib import Path

from framework.render import APP

GENERATOR = f"*/*/{APP}"
"""Each such file makes an Application of its folder. In the Git generator, ``*`` also matches slashes."""
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
