"""Hatchling's build hook: record the commit that a wheel or an sdist is built from.

``run --version`` prints it. A wheel built from an sdist takes over the sdist's record; without Git and
without a record, nothing is recorded.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RECORD = "COMMIT"
PLACES = {"wheel": "framework/_share/COMMIT", "sdist": RECORD}


class RecordCommit(BuildHookInterface):
    """Adds one file with the commit to what is built."""

    _folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the record, except to an editable install, which asks Git each time."""
        commit = _commit(Path(self.root))
        if version == "editable" or commit is None:
            return
        self._folder = Path(tempfile.mkdtemp(prefix="gitune-"))
        file = self._folder / RECORD
        file.write_text(f"{commit}\n", encoding="utf-8")
        build_data["force_include"][str(file)] = PLACES[self.target_name]

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary file."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _commit(root: Path) -> str | None:
    if given := os.environ.get("GITUNE_COMMIT"):  # a container build, which sees no .git
        return given
    if (root / RECORD).is_file():
        return (root / RECORD).read_text(encoding="utf-8").strip()
    if not (root / ".git").exists():  # a folder inside somebody else's repository
        return None
    answers = [
        subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    if any(done.returncode for done in answers):
        return None
    commit, changes = (done.stdout.strip() for done in answers)
    return f"{commit}-dirty" if changes else commit
