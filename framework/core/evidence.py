"""What a model store keeps beside a published model: the evidence of each release, by the model's digest.

Layout: ``<url>/evidence/<hex digest>/<first digits of the lock's seal>/<file>``. The digest of a
published folder covers its own files, so nothing is added to it. Several locks may name a model, so each has
its own folder. A file that is there never changes.
"""

from collections.abc import Mapping
from pathlib import Path

from framework.core.filesystem import write_whole
from framework.core.modelstore import is_local, local_path, open_store, wrap_store_errors
from framework.core.release import Release, short_key

FOLDER = "evidence"
BILL = "bom.cdx.json"
PROVENANCE = "provenance.intoto.json"
CARD = "README.md"
FILES = (BILL, PROVENANCE, CARD)
"""The evidence of a release."""


def model_address(release: Release) -> str:
    """Return the folder of everything that is kept beside the model of *release*."""
    return beside(release.model_uri)


def beside(model_uri: str) -> str:
    """Return the folder of everything that is kept beside a published model."""
    root, _, name = model_uri.rstrip("/").rpartition("/")
    return f"{root}/{FOLDER}/{name}"


def address(release: Release, model_uri: str = "") -> str:
    """Return the folder of the evidence of *release*, beside its model, or beside a copy at *model_uri*."""
    return f"{beside(model_uri or release.model_uri)}/{short_key(release.seal.removeprefix('sha256:'))}"


def keep(folder: str, files: Mapping[str, str | bytes]) -> list[str]:
    """Write each of *files* that *folder* does not have yet.

    Args:
        folder: an address in a model store.
        files: their content by name.

    Returns:
        The names of the written files.

    Raises:
        SourceError: the store cannot be read or written.
    """
    with wrap_store_errors(folder, "write"):
        store, root = open_store(folder)
        store.invalidate_cache()
        missing = [name for name in files if not store.exists(f"{root}/{name}")]
        for name in missing:
            content = files[name]
            if is_local(store):
                write_whole(Path(root) / name, content)
            else:
                store.pipe_file(f"{root}/{name}", content.encode() if isinstance(content, str) else content)
    return missing


def find(folder: str, name: str) -> bytes | None:
    """Return the content of the file *name* of *folder*, or None if there is none.

    Raises:
        SourceError: the store cannot be read.
    """
    with wrap_store_errors(folder, "read"):
        store, root = open_store(folder)
        store.invalidate_cache()
        try:
            return bytes(store.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None


def names(folder: str) -> list[str]:
    """Return the names of what *folder* has, sorted; none where there is no folder.

    Raises:
        SourceError: the store cannot be read.
    """
    with wrap_store_errors(folder, "read"):
        if (here := local_path(folder)) is not None:  # each run asks, and fsspec takes a while to load
            return sorted(path.name for path in here.iterdir()) if here.is_dir() else []
        store, root = open_store(folder)
        store.invalidate_cache()
        try:
            return sorted(path.rstrip("/").rpartition("/")[2] for path in store.ls(root, detail=False))
        except FileNotFoundError:
            return []
