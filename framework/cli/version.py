"""The text of ``run --version``: Gitune's version, and the commit that it was built from."""

import platform

from framework import __version__
from framework.core.paths import SHARE

COMMIT_FILE = "COMMIT"
"""In the shared folder of an installed package, written when it was built."""


def version_text() -> str:
    """Return version, origin and Python, in one line.

    >>> version_text().split()[:2] == ["gitune", __version__]
    True
    """
    return f"gitune {__version__} ({_origin()}, Python {platform.python_version()})"


def _origin() -> str:
    """Return the commit of an installed package or of a source checkout."""
    recorded = SHARE / COMMIT_FILE
    if recorded.is_file():
        return f"built from {recorded.read_text(encoding='utf-8').strip()}"
    if (SHARE / ".git").exists():
        from framework.core.git import checkout_commit

        if commit := checkout_commit(SHARE):
            return f"source checkout at {commit}"
    return "built from an unknown commit"
