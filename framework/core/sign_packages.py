"""The packages of the extra ``sign``, which take half a second to load and are typed in part only."""

from importlib import import_module
from typing import Any

from framework.core.errors import ReleaseError


def sign_module(name: str) -> Any:
    """Return the module *name* of one of the packages, such as ``sigstore.oidc``.

    Raises:
        ReleaseError: the extra is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ReleaseError(f"signatures: {error}; pip install 'gitune[sign]'") from error
