"""Small promises about files: hashes that are remembered, writes that are whole or absent.

The memory of hashes lies in the user's cache, keyed by path, size and modification time; a file
that changed any of them is read again.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder for downloads and remembered hashes.

    ``GITUNE_CACHE`` wins, then ``XDG_CACHE_HOME/gitune``, then ``~/.cache/gitune``.
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
    """Return ``sha256_of(path)``, reading the bytes only if size or modification time changed."""
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    memory = cache_folder() / "hashes" / f"{name}.json"
    try:
        known = json.loads(memory.read_text())
        if known["stamp"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        known = None  # never seen, or a torn note: hash again
    digest = sha256_of(path)
    with contextlib.suppress(OSError):  # a full or read-only cache only costs time
        write_whole(memory, json.dumps({"stamp": stamp, "sha256": digest}))
    return digest


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace *path* with *content* so that a reader sees the old file or the new one, never a part."""
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


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below *folder*, sorted by its path relative to it."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    yield from sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def tree_digest(folder: Path) -> str:
    r"""Return ``sha256:…`` over the names and bytes of every file below *folder*.

    Each file adds the line ``<sha256>  <posix path>\n``, in path order: what ``sha256sum`` prints,
    so anybody can compute it again without this program.
    """
    lines = (f"{sha256_of(p)}  {p.relative_to(folder).as_posix()}\n" for p in files_below(folder))
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
