"""Locate the framework's own ``conf/`` and ``recipes/``. It does not look at the working folder."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _share() -> Path:
    """Return ``framework/_share`` of an installed wheel, or else the root of the source checkout."""
    installed = _PACKAGE / "_share"
    return installed if installed.is_dir() else _PACKAGE.parent


SHARE: Path = _share()
"""The folder with the framework's own ``conf/`` and ``recipes/``."""
