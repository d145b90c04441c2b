"""File helpers: cached hashes and atomic writes.

Hashes are cached in the user's cache folder by path, size and modification time. A file is read again if
any of these changed.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder for downloads and hashes.

    ``GITUNE_CACHE`` comes first, then ``XDG_CACHE_HOME/gitune``, then ``~/.cache/gitune``.
    """
    if chosen := os.environ.get("GITUNE_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "gitune"


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """Return ``sha256_of(path)``; the file is only read if its size or modification time changed."""
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    entry = cache_folder() / "hashes" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not cached, or a damaged entry
        cached = json.loads(entry.read_text())
        if cached["stamp"] == stamp:
            return str(cached["sha256"])
    digest = sha256_of(path)
    with contextlib.suppress(OSError):  # a full or read-only cache only costs time
        write_whole(entry, json.dumps({"stamp": stamp, "sha256": digest}))
    return digest


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace *path* atomically: a reader sees the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is below, or a link; what a link leads to stays.

    ``shutil.rmtree`` refuses a link, and where errors are ignored it removes nothing without a word.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below *folder*, sorted by relative path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    yield from sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def tree_digest(folder: Path) -> str:
    r"""Return ``sha256:…`` over the names and bytes of every file below *folder*.

    It hashes one line per file, ``<sha256>  <posix path>\n``, in path order. This is the output format of
    ``sha256sum``, so the digest can be reproduced without this program.
    """
    lines = (f"{sha256_of(p)}  {p.relative_to(folder).as_posix()}\n" for p in files_below(folder))
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
