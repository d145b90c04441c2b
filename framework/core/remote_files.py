"""Files and folders at any URL that fsspec opens (``s3://``, ``gs://``, ``https://``, ``memory://``…).

Each store's client finds its own credentials. This module knows nothing about caches and hashes.
"""

import errno
from pathlib import Path, PurePosixPath
from typing import Any

from framework.core.error_text import first_line
from framework.core.errors import SourceError
from framework.core.suggest import nearest

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def problem(scheme: str) -> str | None:
    """Return what is wrong with *scheme*, or None if fsspec supports it."""
    from fsspec.registry import known_implementations, registry

    # fsspec's scheme for local paths is excluded: the key must depend on a local file's content.
    known = {*known_implementations, *registry, "pypi"} - {"local"}
    if scheme in known:
        return None
    near = nearest(scheme, sorted(known))
    hint = f"did you mean '{near}://'?" if near else "use hf://, pypi://, file://, s3:// or https://"
    return f"unknown scheme '{scheme}://'; {hint}"


def packages(url: str) -> dict[str, str]:
    """Return the distribution that opens *url*, with the extra that installs it; empty if none is known."""
    scheme = url.partition("://")[0]
    return {_PACKAGES[scheme]: "store"} if scheme in _PACKAGES else {}


def get(url: str, into: Path) -> Path:
    """Download the file, or every file of the folder, below *into*.

    Raises:
        SourceError: the backend is not installed, nothing exists there, or it cannot be reached.
    """
    filesystem, path = _open(url)
    try:
        return _copy(filesystem, path, into)
    except FileNotFoundError as error:
        raise SourceError(f"{url}: no such file or folder; check the URL") from error
    except Exception as error:  # every store's client has its own errors
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        raise SourceError(
            f"{url}: cannot be downloaded ({first_line(error)}); check network and credentials, "
            "or copy it here and set its path as the source's url"
        ) from error


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of *url* and the path in it."""
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    try:
        filesystem, path = url_to_fs(url)
    except ImportError as error:
        scheme = url.partition("://")[0]
        package = str(known_implementations[scheme]["class"]).partition(".")[0]
        if package == "fsspec":  # fsspec's own class, whose client has another name
            package = getattr(error.__cause__, "name", None) or str(error)
        raise SourceError(
            f"{url}: {scheme}:// needs a package that is not installed; run `pip install {package}`"
        ) from error
    except ValueError as error:
        raise SourceError(f"{url}: {error}") from error
    return filesystem, str(path)


def _copy(filesystem: Any, path: str, into: Path) -> Path:
    result = into / (PurePosixPath(path).name or "content")
    # Over HTTP, any page with links would count as a folder.
    web = "http" in filesystem.protocol or "https" in filesystem.protocol
    if web or not filesystem.isdir(path):
        filesystem.get_file(path, str(result))
        return result
    root = path.rstrip("/")
    for name in filesystem.find(path):
        inner = PurePosixPath(name.removeprefix(root).lstrip("/"))
        if ".." in inner.parts:
            raise SourceError(f"{root}: contains the unsafe path '{name}'")
        target = result / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(name, str(target))
    return result
