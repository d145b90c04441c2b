"""Sources: the URL of bytes, and their expected sha256.

This module knows the form of URLs and which are local. ``pypi``, ``hub`` and ``remote_files`` download each
kind, and ``download`` caches the result.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.core import download, hub, pypi, remote_files
from framework.core.errors import SourceError
from framework.core.paths import SHARE
from framework.core.step import Fingerprinted

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ONE_SLASH = re.compile(r"(hf|pypi|file|s3|gs|https?):/?(?!/)")
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")


class Source(Fingerprinted):
    """A file or folder by URL; a plain string in YAML means ``{url: <string>}``.

    Supported are ``hf://org/name@revision`` (a model repository; ``hf://datasets/org/name`` for a data set;
    both can end in ``/member``), ``file://path`` or a plain path, ``pypi://name==version/member`` (a file of
    a wheel or sdist, or a folder if it ends in ``/``), and any URL that fsspec opens (``s3://…``).
    """

    url: str
    """The address. A relative path is looked up in the working folder, then in the framework's."""
    sha256: str | None = None
    """64 hex digits: of a file, its sha256; of a folder, the sha256 of ``sha256sum``'s output for its files
    in path order (``framework.core.filesystem.tree_digest``). None skips the check."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if problem := _problem(url):
            raise PydanticCustomError("source_url", "{problem}", {"problem": problem})
        return url

    @field_validator("sha256")
    @classmethod
    def _check_sha256(cls, sha256: str | None) -> str | None:
        if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise PydanticCustomError("sha256", "should be 64 lower-case hex digits, as printed by sha256sum")
        return sha256

    def uses(self) -> Mapping[str, str]:
        """Return the client of the URL's store."""
        return remote_files.packages(self.url)

    @property
    def local(self) -> bool:
        """Whether the bytes are on this machine's disk already."""
        return _scheme(self.url) == "file"

    @property
    def shipped(self) -> bool:
        """Whether the bytes are part of the framework's installation."""
        return self.local and any(
            self._path().is_relative_to(SHARE / folder) for folder in ("conf", "recipes")
        )

    @property
    def pinned(self) -> bool:
        """Whether the bytes cannot change unnoticed: by a sha256, a commit, or content in the key."""
        if self.sha256 or self.local:
            return True
        return _scheme(self.url) == "hf" and hub.Address.parse(self.url).is_commit

    def fetch(self) -> Path:
        """Return the local file or folder, downloading it once into the user's cache.

        Raises:
            SourceError: it does not exist, cannot be downloaded, or has another sha256.
        """
        if self.local:
            path = self._path()
            self._digest(path)
            return path
        scheme = _scheme(self.url)
        get = _getter(scheme)
        return download.cached(self.url, self.sha256, get, resumes=scheme == "hf")

    def at_hand(self) -> Path | None:
        """Return the file or folder if this machine has it already, unchecked; None if it does not."""
        if not self.local:
            return download.at_hand(self.url)
        try:
            return self._path()
        except SourceError:
            return None

    def fingerprint(self) -> str:
        """Return the digest of a local path's content, or a remote source's sha256, or else its URL.

        Raises:
            SourceError: a local path does not exist, or has another sha256.
        """
        if self.local:
            return f"sha256:{self._digest(self._path())}"
        return f"sha256:{self.sha256}" if self.sha256 else self.url

    def resolve(self) -> "Source":
        """Return this source pinned: ``hf://`` to its current commit, all others to their sha256.

        Raises:
            SourceError: the hub does not answer, or the bytes cannot be fetched.
        """
        if _scheme(self.url) == "hf":
            return Source(url=hub.at_commit(self.url), sha256=self.sha256)
        return Source(url=self.url, sha256=download.content_sha256(self.fetch()))

    def _path(self) -> Path:
        path = Path(self.url.removeprefix("file://")).expanduser()
        locations = [Path.cwd() / path, SHARE / path]  # joining an absolute path returns that path
        for location in locations:
            if location.exists():
                return location
        searched = " or ".join(dict.fromkeys(map(str, locations)))
        near = list(dict.fromkeys(name for location in locations for name in _similar_paths(location)))
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise SourceError(f"{self.url}: no file or folder at {searched}{hint}")

    def _digest(self, path: Path) -> str:
        try:
            actual = download.content_sha256(path)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
        if self.sha256 and actual != self.sha256:
            raise SourceError(download.mismatch(self.url, self.sha256, actual))
        return actual


def _scheme(url: str) -> str:
    match = _SCHEME.match(url)
    return match[1] if match else "file"


def _getter(scheme: str) -> Callable[[str, Path], Path]:
    return {"pypi": pypi.get, "hf": hub.get}.get(scheme, remote_files.get)


def _problem(url: str) -> str | None:
    """Return what is wrong with the form of *url*, or None."""
    if url != url.strip() or not url.removeprefix("file://"):
        return "should be a URL or a path without spaces around it"
    if match := _ONE_SLASH.match(url):
        return f"'{match[1]}:' needs two slashes: '{match[1]}://…'"
    if _PASSWORD.search(url):
        return "contains a password; remove it and set it in the environment that the URL's client reads"
    scheme = _scheme(url)
    if scheme == "pypi":
        return pypi.problem(url)
    if scheme == "hf":
        return hub.problem(url)
    return None if scheme == "file" else remote_files.problem(scheme)


def _similar_paths(missing: Path) -> list[str]:
    """Return the paths next to *missing* with a similar name, most similar first."""
    try:
        names = [path.name for path in missing.parent.iterdir()]
    except OSError:
        return []
    near = get_close_matches(missing.name, names, n=2, cutoff=0.6)
    return [str(missing.parent / name) for name in near]
