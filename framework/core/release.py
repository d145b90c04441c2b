"""The release: the one record that crosses from the build half to the render half.

Saved as ``release.lock``: JSON, sorted keys, two spaces, one final newline, so that two equal
releases are equal files. It holds no time, host name or absolute path.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from framework.core.component import Component
from framework.core.errors import ReleaseError

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
LOCK = "release.lock"


class Release(Component):
    """A published model and its proof."""

    name: str
    """The release's name: a DNS label, the same in every environment."""
    recipe: str
    """The recipe it was built from, or ``(none)`` where only overrides were given."""
    plan: str
    """The key of the plan's last step: 64 hex digits that cover every input."""
    model_uri: str
    """Where the model lies, as configured: any URL that fsspec opens, or a path."""
    digest: Digest
    """The digest of the published folder; see ``framework.core.files.tree_digest``."""
    engine: str
    """The engine that runs the published folder, such as ``genai``."""
    task: str
    """What the model does: the name of a module of ``framework.task``, such as ``causal-lm``."""
    base_model: str
    """The base model's source, with the revision or version that was used."""
    base_model_license: str
    """The licence that the base model's option names (SPDX where there is one)."""
    data_digest: Digest
    """The digest of the prepared rows."""
    chat_template_digest: Digest | None
    """The digest of the chat template's text; None where the task has none."""
    metrics: dict[str, float]
    """Flat ``<candidate>.<metric>``, such as ``tuned.exact_match``."""
    gates: dict[str, str]
    """Every gate that was passed: the metric and its bound, such as ``>= 0.5``."""
    commit: str | None
    """The Git commit of the working folder, ``-dirty`` if it had changes; None without Git."""

    def text(self) -> str:
        """Return the lock file's text."""
        body = self.dump()
        del body["_target_"]
        return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Release":
        """Read a lock.

        Raises:
            ReleaseError: there is none, or it is not a whole release.
        """
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ReleaseError(f"{path}: no release yet; build one with `run +recipe=<name>`") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ReleaseError(f"{path}: {where}: {first['msg']}; restore the file from Git") from None
        except ValueError as error:
            raise ReleaseError(f"{path}: not JSON ({error}); restore the file from Git") from None
