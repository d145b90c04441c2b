"""Adapters that are served beside the release, each under a name of its own.

An adapter is a folder of PEFT's two files. This module fetches and verifies them; it opens none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from framework.core.errors import ServeError
from framework.core.filesystem import tree_digest
from framework.core.modelstore import pull

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""An adapter's name in the API."""
_STORED = re.compile(r"/([0-9a-f]{64})/?$")


@dataclass(frozen=True)
class Adapter:
    """An adapter on this machine."""

    folder: Path
    digest: str
    """That of its files: ``sha256:<hex>``."""


def fetch_adapters(sources: Mapping[str, str], cache: Path) -> dict[str, Adapter]:
    """Return each adapter, fetched and verified.

    Args:
        sources: a local folder, or the URL of a published one, for each name.
        cache: where published ones are written to, each under its digest.

    Raises:
        ServeError: a folder is missing, or a URL has no digest to verify it by.
        SourceError: a published adapter cannot be fetched, or does not match its digest.
    """
    return {name: _fetch(name, source, cache) for name, source in sources.items()}


def _fetch(name: str, source: str, cache: Path) -> Adapter:
    if "://" not in source:
        folder = Path(source).resolve()
        if not folder.is_dir():
            raise ServeError(f"serving.adapters.{name}: {source}: no such folder")
        return Adapter(folder, tree_digest(folder))
    stored = _STORED.search(source)
    if stored is None:
        raise ServeError(
            f"serving.adapters.{name}: {source}: nothing to verify it by; publish it, so that its URL "
            "ends in the digest, as docs/serving.md shows"
        )
    digest, folder = f"sha256:{stored[1]}", cache / stored[1]
    pull(source.rstrip("/"), digest, folder)
    return Adapter(folder, digest)
