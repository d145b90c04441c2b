"""The published versions of each release: a copy of every lock in the model store, and their pruning.

Layout: ``<url>/releases/<release>/<plan key>.lock``. A lock is written after the model that it names, so
every listed version is complete. Callers pass the folder of environments.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from framework.core import evidence
from framework.core.errors import GitError
from framework.core.filesystem import write_whole
from framework.core.git import Repository
from framework.core.modelstore import LIST, is_local, open_store, wrap_store_errors
from framework.core.release import LOCK, Release

FOLDER = "releases"
_KEPT_LOCKS = 4
"""How many locks of one environment and release are kept: the current one and those before it."""
_COMMITS = 1000
"""How many commits are searched for them."""
_KEY = re.compile(r"[0-9a-f]{64}")


def record(url: str, release: Release) -> str:
    """Copy the lock to the model store at *url* and return its address.

    Publishing a version again makes it the newest.

    Raises:
        SourceError: the store cannot be written.
    """
    address = f"{url.rstrip('/')}/{FOLDER}/{release.name}/{release.plan}.lock"
    with wrap_store_errors(address, "write"):
        store, path = open_store(address)
        if is_local(store):
            write_whole(Path(path), release.text())
        else:
            store.pipe_file(path, release.text().encode())
    return address


def find(url: str, name: str, plan: str) -> Release | None:
    """Return the release *name* that was published with the key *plan*, or None.

    Raises:
        SourceError: the store cannot be read.
        ReleaseError: the lock was altered.
    """
    address = f"{url.rstrip('/')}/{FOLDER}/{name}/{plan}.lock"
    with wrap_store_errors(address, "read"):
        store, path = open_store(address)
        store.invalidate_cache()
        try:
            text = store.cat_file(path).decode()
        except FileNotFoundError:
            return None
    return Release.parse(text, address)


def prune(url: str, name: str, keep: int, needed: frozenset[str]) -> list[str]:
    """Remove versions of release *name* beyond the *keep* newest; models that only they named, with evidence.

    Args:
        url: the model store.
        name: the release.
        keep: how many versions stay, by the order in which they were published.
        needed: hex digits of plan keys and model digests that must stay, however old they are.

    Returns:
        The plan keys of the removed versions, oldest last.

    Raises:
        SourceError: the store cannot be read or written.
    """
    root = url.rstrip("/")
    with wrap_store_errors(f"{root}/{FOLDER}/{name}", "remove old versions (publish.keep=null keeps all)"):
        store, base = open_store(root)
        store.invalidate_cache()
        named = {path: _named(store.cat_file(path)) for path in _locks(store, f"{base}/{FOLDER}")}
        own = [path for path in named if path.rpartition("/")[0].endswith(f"/{FOLDER}/{name}")]
        try:
            own.sort(key=lambda path: (store.modified(path), path), reverse=True)
        except NotImplementedError:  # without modification times there is no order, so nothing is removed
            return []
        old = [path for path in own[keep:] if needed.isdisjoint(named[path])]
        for path in old:
            store.rm_file(path)
        kept = {digest for path, (_, digest) in named.items() if path not in old}
        for digest in {named[path][1] for path in old} - kept - needed:
            _remove(store, f"{base}/{digest}")
            _remove(store, f"{base}/{evidence.FOLDER}/{digest}")
    return [path.rpartition("/")[2].removesuffix(".lock") for path in old]


def needed_by(environments: Path) -> frozenset[str]:
    """Return the hex digits of every key and digest that a lock of *environments* names.

    It reads the folder's files and, in a Git repository, the locks at ``HEAD`` and at the tip of every
    branch, including remote branches as last fetched. It also reads the last few locks of each release, which
    a rollback may restore.
    """
    texts = [lock.read_text(errors="replace") for lock in environments.glob(f"*/*/{LOCK}")]
    texts += _committed(environments) if environments.is_dir() else []
    return frozenset(key for text in texts for key in _KEY.findall(text))


def _committed(environments: Path) -> Iterable[str]:
    try:
        repository = Repository.around(environments)
    except GitError:
        return []
    tips = repository.run("for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes").split()
    head = repository.ask("rev-parse", "--verify", "--quiet", "HEAD")
    tips += [head] if head else []
    blobs = _recent(repository, tips) if tips else set()
    for tip in {*tips}:
        for line in repository.run("ls-tree", "-r", "-z", tip, "--", ".").split("\0"):
            if line.endswith(f"/{LOCK}"):
                blobs.add(line.split()[2])
    return [text for text in repository.blobs(sorted(blobs)) if text is not None]


def _recent(repository: Repository, tips: list[str]) -> set[str]:
    """Return the Git object names of the last few locks at each path."""
    form = ("--raw", "-z", "--no-abbrev", "--no-renames", "--format=")
    log = repository.run("log", f"--max-count={_COMMITS}", *form, *{*tips}, "--", ".")
    last: dict[str, list[str]] = {}
    fields = iter(log.split("\0"))
    for words in fields:
        if not words.startswith(":"):  # between two commits
            continue
        path = next(fields)
        if path.endswith(f"/{LOCK}"):
            blob, kept = words.split()[3], last.setdefault(path, [])
            if len(kept) < _KEPT_LOCKS and blob not in kept:
                kept.append(blob)
    return {blob for blobs in last.values() for blob in blobs}


def _locks(store: Any, folder: str) -> list[str]:
    if is_local(store):  # ``find`` does not look below a folder that is a link
        return [str(path) for path in sorted(Path(folder).glob("*/*.lock"))]
    try:
        return [path for path in store.find(folder) if path.endswith(".lock")]
    except FileNotFoundError:
        return []


def _named(lock: bytes) -> tuple[str, str]:
    """Return the hex digits of the plan key and of the model's digest."""
    body = json.loads(lock)
    return str(body["plan"]), str(body["digest"]).removeprefix("sha256:")


def _remove(store: Any, folder: str) -> None:
    """Remove a model, its list first: a folder without the list counts as incomplete."""
    if store.exists(f"{folder}/{LIST}"):
        store.rm_file(f"{folder}/{LIST}")
    if store.exists(folder):
        store.rm(folder, recursive=True)
