"""The accepted API keys: the one in the environment, and those of a file, which is read when it changes."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from pathlib import Path

from framework.core.errors import ServeError
from framework.serving.access.key_file import ENVIRONMENT, KeyEntry, hash_of, load, read_keys
from framework.serving.caller import ANYBODY, Caller

_log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
"""Seconds between two looks at the file."""


class Keys:
    """All keys that the server accepts. One event loop calls it."""

    def __init__(self, single: str | None, path: Path | None, on_reload: Callable[[str], object]) -> None:
        """Read the file.

        Args:
            single: the key without limits; None has none.
            path: the file with hashes; None has none.
            on_reload: called with ``loaded`` or ``refused`` when the file has changed.

        Raises:
            ServeError: the file cannot be read, or has another format.
        """
        self._single: tuple[KeyEntry, ...] = (
            () if single is None else (KeyEntry(name=ENVIRONMENT, hash=hash_of(single)),)
        )
        self._path, self._on_reload = path, on_reload
        self._seen: bytes | str | None = None
        """The file's content, or why it could not be read."""
        self._entries: tuple[KeyEntry, ...] = self._single
        if path is not None:
            self._seen = load(path)
            self._entries += read_keys(path, self._seen)
        self._index()

    def __bool__(self) -> bool:
        """Whether requests need a key; a file without keys accepts none."""
        return bool(self._single) or self._path is not None

    def find(self, key: bytes) -> KeyEntry | None:
        """Return the entry of *key*, in a time that depends on the number of keys alone."""
        digest, found = hashlib.sha256(key).digest(), None
        for entry, expected in self._digests:
            if hmac.compare_digest(digest, expected):
                found = entry
        return found

    def caller_named(self, name: str) -> Caller | None:
        """Return the caller whose key has *name*; None if there is no such key any more."""
        if not self:
            return ANYBODY
        known = (entry for entry in self._entries if entry.name == name and not entry.expired())
        return next((entry.caller() for entry in known), None)

    async def watch(self) -> None:
        """Read the file again whenever it changes, until the task is canceled.

        The content is compared: a mounted Secret changes through a symbolic link, and some file systems keep
        the times of files.
        """
        while self._path is not None:
            await asyncio.sleep(POLL_SECONDS)
            try:
                seen: bytes | str = await asyncio.to_thread(load, self._path)
            except ServeError as error:
                seen = str(error)
            self.renew(seen)

    def renew(self, seen: bytes | str) -> None:
        """Use the keys in *seen*, if it is new; a broken content, or an error's text, changes none."""
        if seen == self._seen or self._path is None:
            return
        self._seen = seen
        try:
            if isinstance(seen, str):
                raise ServeError(seen)
            entries = read_keys(self._path, seen)
        except ServeError as error:
            _log.error("the API keys stay as they were: %s", error)
            self._on_reload("refused")
            return
        self._entries = (*self._single, *entries)
        self._index()
        _log.warning("%s: %d API keys are accepted now", self._path, len(entries))
        self._on_reload("loaded")

    def _index(self) -> None:
        self._digests = [(entry, entry.digest) for entry in self._entries]
