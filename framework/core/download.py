"""The download cache: each URL is fetched once, verified, and kept complete or not at all.

Layout below ``cache_folder()/downloads``: ``<key>/source.json`` and ``<key>/content/…``, ``<key>.lock``
beside them, and ``<key>.partial/`` during the download. The key is the sha256 of the URL, so pinning a
fresh download does not repeat it. This module knows no protocol: a getter receives a folder to fill.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from framework.core.errors import SourceError
from framework.core.filesystem import cache_folder, files_below, remembered_sha256, remove

RECORD = "source.json"
_log = logging.getLogger(__name__)

Getter = Callable[[str, Path], Path]
"""``get(url, into)`` puts a file or folder below *into* and returns its path, or raises SourceError."""


def content_sha256(path: Path) -> str:
    """Return the hex sha256 of a file, or of a folder as ``filesystem.tree_digest`` computes it.

    A file is only read if its size or modification time changed since it was last read.
    """
    if path.is_file():
        return remembered_sha256(path)
    lines = (f"{remembered_sha256(p)}  {p.relative_to(path).as_posix()}\n" for p in files_below(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def cached(url: str, sha256: str | None, get: Getter, *, resumes: bool = False) -> Path:
    """Return the downloaded file or folder; *get* is only called if there is no intact copy.

    Args:
        url: the address.
        sha256: the expected ``content_sha256``; None accepts any bytes and detects later changes.
        get: fetches into a folder.
        resumes: whether *get* continues a broken download from the files that it left.

    Raises:
        SourceError: *get* failed, the bytes are not the expected ones, or the cache cannot be written.
    """
    root = cache_folder() / "downloads"
    key = _key(url)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("another process is downloading %s; waiting for it", url)
            lock.acquire()
        try:
            return _intact(root / key, sha256) or _download(url, sha256, get, root / key, resumes)
        finally:
            lock.release()
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError(
            f"{root}: cannot store the download of {url}: {why}; "
            "check free space and permissions there, or set GITUNE_CACHE=<another folder>"
        ) from error


def at_hand(url: str) -> Path | None:
    """Return what was downloaded from *url* before, unchecked; None if there is nothing."""
    folder = cache_folder() / "downloads" / _key(url)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        path = folder / "content" / str(record["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.exists() else None


def mismatch(url: str, expected: str, actual: str) -> str:
    """Return the message for bytes whose sha256 is not the expected one."""
    return (
        f"{url}: sha256 should be {expected}, got {actual}; these bytes were changed or damaged: "
        "restore the original, or set the new sha256 if you trust them"
    )


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _intact(folder: Path, sha256: str | None) -> Path | None:
    """Return the content of a finished download if its bytes are unchanged."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        path = folder / "content" / str(record["path"])
        actual = content_sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never fetched, or damaged
    if actual != (sha256 or record["sha256"]):
        _log.warning("%s: the cached copy has another sha256; downloading it again", record["url"])
        return None
    return path


def _download(url: str, sha256: str | None, get: Getter, folder: Path, resumes: bool) -> Path:
    partial = folder.with_name(f"{folder.name}.partial")
    if not resumes:
        remove(partial)  # left by a killed process; we hold the lock
    content = partial / "content"
    content.mkdir(parents=True, exist_ok=True)
    _log.info("downloading %s", url)
    try:
        path = get(url, content)
    except BaseException:
        if not resumes:
            remove(partial)
        raise
    actual = content_sha256(path)
    if sha256 and actual != sha256:
        remove(partial)
        raise SourceError(mismatch(url, sha256, actual))
    name = path.relative_to(content).as_posix()
    record = {"url": url, "sha256": actual, "path": name}
    (partial / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    if folder.exists():  # a damaged copy, removed only once its replacement is complete
        remove(folder)
    partial.rename(folder)
    return folder / "content" / name
