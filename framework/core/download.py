"""What is kept of a download: whole, verified and fetched once, whoever asks and however often.

Layout below ``cache_folder()/downloads``: ``<key>/source.json`` and ``<key>/content/…``, with
``<key>.lock`` beside it and ``<key>.partial/`` while it is fetched; the key is the sha256 of the URL, so
that pinning what was just downloaded costs no second download. This module does not know any protocol:
a getter is handed an empty folder.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from framework.core.errors import SourceError
from framework.core.filesystem import cache_folder, files_below, remembered_sha256

RECORD = "source.json"
_log = logging.getLogger(__name__)

Getter = Callable[[str, Path], Path]
"""``get(url, into)`` puts a file or folder below *into* and returns it, or raises SourceError."""


def content_sha256(path: Path) -> str:
    """Return the hex sha256 of a file, or of a folder as ``files.tree_digest`` computes it.

    Files are read only where size or modification time changed since they were last read.
    """
    if path.is_file():
        return remembered_sha256(path)
    lines = (f"{remembered_sha256(p)}  {p.relative_to(path).as_posix()}\n" for p in files_below(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def cached(url: str, sha256: str | None, get: Getter, *, resumes: bool = False) -> Path:
    """Return the downloaded file or folder, calling *get* only if it is not here intact.

    Args:
        url: what is downloaded.
        sha256: what ``content_sha256`` must give; None takes what comes, and notices later changes.
        get: fetches into a folder.
        resumes: whether *get* goes on with what an earlier, broken attempt left.

    Raises:
        SourceError: *get* failed, the bytes are not the expected ones, or the disk refused.
    """
    root = cache_folder() / "downloads"
    key = hashlib.sha256(url.encode()).hexdigest()
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
            f"{root}: cannot keep the download of {url}: {why}; "
            "free space and check permissions there, or set GITUNE_CACHE=<another folder>"
        ) from error


def mismatch(url: str, expected: str, found: str) -> str:
    """Return the sentence for bytes with another sha256 than expected."""
    return (
        f"{url}: sha256 should be {expected}, got {found}; somebody changed or damaged these bytes: "
        "get the right ones, or write the new sha256 if you trust them"
    )


def _intact(folder: Path, sha256: str | None) -> Path | None:
    """Return the content of a finished download if its bytes are still those that were fetched."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        path = folder / "content" / str(record["path"])
        found = content_sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never fetched, or damaged: fetch it (again)
    if found != (sha256 or record["sha256"]):
        _log.warning("%s: the cached copy is not what was asked for; downloading it again", record["url"])
        return None
    return path


def _download(url: str, sha256: str | None, get: Getter, folder: Path, resumes: bool) -> Path:
    partial = folder.with_name(f"{folder.name}.partial")
    if not resumes:
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed process; we hold the lock
    content = partial / "content"
    content.mkdir(parents=True, exist_ok=True)
    _log.info("downloading %s", url)
    try:
        path = get(url, content)
    except BaseException:
        if not resumes:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    found = content_sha256(path)
    if sha256 and found != sha256:
        shutil.rmtree(partial)
        raise SourceError(mismatch(url, sha256, found))
    name = path.relative_to(content).as_posix()
    record = {"url": url, "sha256": found, "path": name}
    (partial / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    if folder.exists():  # a damaged copy; it goes only now that a good one is here
        shutil.rmtree(folder)
    partial.rename(folder)
    return folder / "content" / name
