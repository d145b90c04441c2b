"""The model store: published model folders, named by their digest, at any URL that fsspec opens.

Layout: ``<url>/<hex digest>/…``. The list ``SHA256SUMS`` is written last, so a folder without it is
incomplete. The digest is ``framework.core.filesystem.tree_digest`` of all other files, which equals the
sha256 of the list. The store knows nothing about releases or engines.
"""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from framework.core.error_text import first_line
from framework.core.errors import SourceError
from framework.core.filesystem import files_below, sha256_of, tree_digest

LIST = "SHA256SUMS"
_LINK = "link"


def push(folder: Path, url: str) -> tuple[str, str]:
    """Publish a copy of *folder*; nothing is copied if the store already has it completely.

    Args:
        folder: the model; it must not contain a file named ``SHA256SUMS``.
        url: the store, such as ``file://.gitune/models`` or ``s3://bucket/models``.

    Returns:
        ``(uri, digest)``: ``<url>/<hex>`` and ``sha256:<hex>``.

    Raises:
        SourceError: the store cannot be reached or written.
    """
    if (folder / LIST).exists():
        raise SourceError(f"{folder / LIST}: this name is reserved by the model store; rename the file")
    sums = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files_below(folder)}
    if not sums:
        raise SourceError(f"{folder}: nothing to publish; the folder contains no file")
    listing = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    name = hashlib.sha256(listing.encode()).hexdigest()
    uri = f"{url.rstrip('/')}/{name}"
    with wrap_store_errors(uri, "write"):
        store, root = open_store(uri)
        sizes = {file: (folder / file).stat().st_size for file in sums}
        if not _is_complete(store, root, listing, sizes):
            _upload(store, root, folder, listing, list(sums))
    return uri, f"sha256:{name}"


def pull(uri: str, digest: str, folder: Path) -> None:
    """Fill *folder* with exactly the published model; every byte is checked against *digest*.

    It does nothing if the folder already matches. Otherwise the model is written to a temporary folder,
    checked and renamed, so *folder* is never incomplete.

    Raises:
        SourceError: the model is missing, does not match *digest*, or cannot be read or written.
    """
    if folder.is_dir() and tree_digest(folder) == digest:
        return
    with wrap_store_errors(uri, "read"):
        store, root = open_store(uri)
        listing = _listing(store, root, uri, digest)
    with wrap_store_errors(str(folder), f"be filled from {uri}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pulling-", dir=folder.parent) as beside:
            fresh = Path(beside) / "model"
            for wanted, name in _entries(uri, listing):
                _download(store, f"{root}/{name}", fresh / name, wanted)
            if folder.exists():
                folder.rename(Path(beside) / "old")
            fresh.rename(folder)


def published_files(uri: str, digest: str) -> dict[str, str]:
    """Return the hex sha256 of each published file by its name, as the list says; no file is read.

    Raises:
        SourceError: the model is missing, or its list does not match *digest*.
    """
    with wrap_store_errors(uri, "read"):
        store, root = open_store(uri)
        return {name: sha256 for sha256, name in _entries(uri, _listing(store, root, uri, digest))}


def listed_files(uri: str) -> dict[str, str] | None:
    """Return what a published folder's list has, whose digest nothing checks; None without a list.

    Raises:
        SourceError: the list is malformed, or cannot be read.
    """
    with wrap_store_errors(uri, "read"):
        store, root = open_store(uri)
        try:
            listing: bytes = store.cat_file(f"{root}/{LIST}")
        except FileNotFoundError:
            return None
        return {name: sha256 for sha256, name in _entries(uri, listing.decode(errors="replace"))}


def read_files(uri: str) -> dict[str, str]:
    """Return the hex sha256 of each file that is in a published folder, but its list, by name; all are read.

    A link has no sha256 but a word: what it leads to may change, and no published folder has one.

    Raises:
        SourceError: the folder is missing, or cannot be read.
    """
    with wrap_store_errors(uri, "read"):
        store, root = open_store(uri)
        store.invalidate_cache()
        if is_local(store):
            links = {path for path in Path(root).rglob("*") if path.is_symlink()}
            found = {*files_below(Path(root)), *links} - {Path(root, LIST)}
            return {
                path.relative_to(root).as_posix(): _LINK if path in links else sha256_of(path)
                for path in found
            }
        sums = {}
        for path in store.find(root):
            name = path.removeprefix(root).lstrip("/")
            if "http" in store.protocol:  # names come from links
                name = unquote(name)
            if name != LIST:
                with store.open(path, "rb") as stream:
                    sums[name] = hashlib.file_digest(stream, "sha256").hexdigest()
        return sums


def check(digest: str, folder: Path) -> None:
    """Check that *folder* contains exactly the model of *digest*; nothing is fetched or written.

    Raises:
        SourceError: it contains something else, or cannot be read.
    """
    try:
        actual = tree_digest(folder)
    except OSError as error:
        raise SourceError(
            f"{error.filename}: cannot be read: {error.strerror}; is the volume mounted?"
        ) from error
    if actual != digest:
        raise SourceError(
            f"{folder}: the release needs {digest}, but this is {actual}; mount the image that was built "
            "from the published folder, without its SHA256SUMS"
        )


def is_lost(uri: str) -> bool:
    """Return whether a model that was published to a local folder is gone; remote stores are not asked.

    Every run calls this, so it only checks that the listed files exist and does not load fsspec. Bytes are
    checked when a model is pulled.
    """
    root = local_path(uri)
    if root is None:
        return False
    try:
        names = [name for _, name in _entries(uri, (root / LIST).read_text(encoding="utf-8"))]
    except OSError:
        return True
    return not all((root / name).is_file() for name in names)


def local_path(uri: str) -> Path | None:
    """Return the path of an address in a local store, without loading fsspec; None of a remote one."""
    if "://" in uri and not uri.startswith("file://"):
        return None
    return Path(uri.removeprefix("file://"))


_RESTORE = "restore the store from a copy, or publish again with `run`"


def _listing(store: Any, root: str, uri: str, digest: str) -> str:
    """Return the list of a published model.

    Raises:
        SourceError: it is missing, or does not match *digest*.
    """
    try:
        listing: bytes = store.cat_file(f"{root}/{LIST}")
    except FileNotFoundError:
        raise SourceError(
            f"{uri}: the model store has no complete model there; publish it again with `run`"
        ) from None
    if (actual := f"sha256:{hashlib.sha256(listing).hexdigest()}") != digest:
        raise SourceError(f"{uri}: the release needs {digest}, but this is {actual}; {_RESTORE}")
    return listing.decode()


def _is_complete(store: Any, root: str, listing: str, sizes: dict[str, int]) -> bool:
    """Return whether the list and every file exist with the right size; bytes are checked when pulled."""
    try:
        if store.cat_file(f"{root}/{LIST}") != listing.encode():
            return False
        return all(store.info(f"{root}/{name}")["size"] == size for name, size in sizes.items())
    except FileNotFoundError:
        return False


def _upload(store: Any, root: str, folder: Path, listing: str, names: list[str]) -> None:
    if is_local(store):
        final = Path(root)
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pushing-", dir=final.parent) as beside:
            fresh = Path(beside) / "model"
            shutil.copytree(folder, fresh)
            (fresh / LIST).write_text(listing, encoding="utf-8")
            if final.exists():  # incomplete, or push would not have called this
                final.rename(Path(beside) / "old")
            fresh.rename(final)
        return
    for name in names:
        store.put_file(str(folder / name), f"{root}/{name}")
    store.pipe_file(f"{root}/{LIST}", listing.encode())


def _download(store: Any, source: str, target: Path, wanted: str) -> None:
    """Download one file and check its sha256.

    Raises:
        SourceError: it is missing or was altered.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.get_file(source, str(target))
    except FileNotFoundError:
        raise SourceError(f"{source}: missing in the model store; {_RESTORE}") from None
    if (actual := sha256_of(target)) != wanted:
        raise SourceError(f"{source}: altered: its sha256 is {actual}, published {wanted}; {_RESTORE}")


def _entries(uri: str, listing: str) -> Iterator[tuple[str, str]]:
    """Yield ``(sha256, name)`` for each line of the list.

    Raises:
        SourceError: a line is malformed, or names a path outside the folder.
    """
    for line in listing.splitlines():
        digest, _, name = line.partition("  ")
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts:
            raise SourceError(f"{uri}/{LIST}: '{line}' is not a line that `sha256sum` prints; {_RESTORE}")
        yield digest, name


def open_store(uri: str) -> tuple[Any, str]:
    """Return the file system and the path in it; a relative ``file://`` path is below the working folder."""
    import fsspec

    store, root = fsspec.core.url_to_fs(uri)
    return store, str(root)


def is_local(store: Any) -> bool:
    """Return whether *store* is this machine's file system."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(store, LocalFileSystem)


@contextlib.contextmanager
def wrap_store_errors(where: str, doing: str) -> Iterator[None]:
    """Turn any error of a backend into a SourceError; backends share no base class for errors.

    Args:
        where: the path or URL, for the message.
        doing: what is tried, for the message.

    Raises:
        SourceError: one line.
    """
    try:
        yield
    except SourceError:
        raise
    except ImportError as error:
        raise SourceError(f"{where}: {error}; `pip install` that package") from error
    except Exception as error:
        raise SourceError(f"{where}: cannot {doing}: {first_line(error)}") from error
