"""Sources: where bytes come from, and the sha256 that they must have.

Knows the shape of URLs and which of them are local; how each kind is downloaded stands in
``pypi``, ``hub`` and ``remote``, and what is kept of it in ``download``.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.core import download, hub, pypi
from framework.core import remote_files as remote
from framework.core.errors import SourceError
from framework.core.paths import SHARE
from framework.core.step import Fingerprinted

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ONE_SLASH = re.compile(r"(hf|pypi|file|s3|gs|https?):/?(?!/)")
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")


class Source(Fingerprinted):
    """Bytes by URL; a plain string in YAML means ``{url: <string>}``.

    ``hf://org/name@revision`` (a model repository; ``hf://datasets/org/name`` a data set; both may
    end in ``/member``), ``file://path`` or a plain path, ``pypi://name==version/member`` (a file or,
    ending in ``/``, a folder of a wheel or sdist), or any URL that fsspec opens (``s3://…``).
    """

    url: str
    """Where the bytes are. A relative path is looked up in the working folder, then in the framework's."""
    sha256: str | None = None
    """64 hex digits. Of a file: its sha256. Of a folder: the sha256 of what ``sha256sum`` prints for
    its files in path order (``framework.core.filesystem.tree_digest``). None is not checked."""

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
            raise PydanticCustomError("sha256", "should be 64 lower-case hex digits, as sha256sum prints")
        return sha256

    @property
    def local(self) -> bool:
        """Whether the bytes lie on this machine's disk already."""
        return _scheme(self.url) == "file"

    @property
    def shipped(self) -> bool:
        """Whether the bytes come with the framework itself, and so lie wherever it is installed."""
        return self.local and any(self._path().is_relative_to(SHARE / part) for part in ("conf", "recipes"))

    @property
    def pinned(self) -> bool:
        """Whether the bytes cannot change unnoticed: a sha256, a commit, or content in the key."""
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

    def fingerprint(self) -> str:
        """Return the digest of a local path's content; of a remote one its sha256, else its URL.

        Raises:
            SourceError: a local path does not exist, or has another sha256.
        """
        if self.local:
            return f"sha256:{self._digest(self._path())}"
        return f"sha256:{self.sha256}" if self.sha256 else self.url

    def resolve(self) -> "Source":
        """Return this source pinned: ``hf://`` at its commit now, all others with their sha256.

        Raises:
            SourceError: the hub does not answer, or the bytes cannot be fetched.
        """
        if _scheme(self.url) == "hf":
            return Source(url=hub.at_commit(self.url), sha256=self.sha256)
        return Source(url=self.url, sha256=download.content_sha256(self.fetch()))

    def _path(self) -> Path:
        given = Path(self.url.removeprefix("file://")).expanduser()
        places = [Path.cwd() / given, SHARE / given]  # an absolute path swallows what stands before it
        for place in places:
            if place.exists():
                return place
        looked = " nor ".join(dict.fromkeys(str(place) for place in places))
        near = list(dict.fromkeys(name for place in places for name in _neighbours(place)))
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise SourceError(f"{self.url}: there is neither file nor folder at {looked}{hint}")

    def _digest(self, path: Path) -> str:
        try:
            found = download.content_sha256(path)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
        if self.sha256 and found != self.sha256:
            raise SourceError(download.mismatch(self.url, self.sha256, found))
        return found


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return found[1] if found else "file"


def _getter(scheme: str) -> Callable[[str, Path], Path]:
    return {"pypi": pypi.get, "hf": hub.get}.get(scheme, remote.get)


def _problem(url: str) -> str | None:
    """Say what is wrong with the shape of *url*, or None."""
    if url != url.strip() or not url.removeprefix("file://"):
        return "should be a URL or a path without spaces around it"
    if found := _ONE_SLASH.match(url):
        return f"'{found[1]}:' needs two slashes: '{found[1]}://…'"
    if _PASSWORD.search(url):
        return "holds a password; leave it out and give it in the environment that the URL's client reads"
    scheme = _scheme(url)
    if scheme == "pypi":
        return pypi.problem(url)
    if scheme == "hf":
        return hub.problem(url)
    return None if scheme == "file" else remote.problem(scheme)


def _neighbours(missing: Path) -> list[str]:
    """Return the paths beside *missing* whose names are like its name, nearest first."""
    try:
        names = [path.name for path in missing.parent.iterdir()]
    except OSError:
        return []
    near = get_close_matches(missing.name, names, n=2, cutoff=0.6)
    return [str(missing.parent / name) for name in near]
