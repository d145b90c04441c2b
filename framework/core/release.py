"""The release: the one record that crosses from the build half to the render half.

Saved as ``release.lock``: JSON, sorted keys, two spaces, one final newline, so that two equal
releases are equal files. It holds no time, host name or absolute path. Its ``seal`` is the sha256 of
all the rest, so that a lock which anybody edited is refused wherever it is read: numbers that pass a gate
are those that were measured.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

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
    """The digest of the published folder; see ``framework.core.filesystem.tree_digest``."""
    engine: str
    """The engine that runs the published folder, such as ``genai``."""
    task: str
    """The model's task: a module of ``framework.build.task``, such as ``causal-lm``, or a plugin's by its
    dotted path."""
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

    @property
    def seal(self) -> str:
        """The sha256 of the lock's text without its seal."""
        return "sha256:" + hashlib.sha256(_text(self._body()).encode()).hexdigest()

    def text(self) -> str:
        """Return the lock file's text, seal included."""
        return _text({**self._body(), "seal": self.seal})

    def _body(self) -> dict[str, Any]:
        body = self.dump()
        del body["_target_"]
        return body

    @classmethod
    def read(cls, path: Path) -> "Release":
        """Read a lock.

        Raises:
            ReleaseError: there is none, it is not a whole release, or it was edited.
        """
        try:
            return cls.parse(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            raise ReleaseError(f"{path}: no release yet; build one with `run +recipe=<name>`") from None
        except ValueError as error:
            raise ReleaseError(f"{path}: not JSON ({error}); restore the file from Git") from None
        except OSError as error:
            raise ReleaseError(
                f"{path}: cannot be read: {error.strerror}; restore the file from Git"
            ) from None

    @classmethod
    def parse(cls, text: str, place: str) -> "Release":
        """Return the release that a lock's *text* describes; *place* says where it lies.

        Raises:
            ReleaseError: it is not a whole release, or it was edited.
        """
        try:
            body = json.loads(text)
            seal = body.pop("seal", None) if isinstance(body, dict) else None
            release = cls.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"{part}: " for part in (place, ".".join(map(str, first["loc"]))) if part)
            raise ReleaseError(f"{where}{first['msg']}; restore the file from Git") from None
        except ValueError as error:
            raise ReleaseError(f"{place}: not JSON ({error}); restore the file from Git") from None
        if seal is None:
            raise ReleaseError(
                f"{place}: it has no seal, so its numbers prove nothing; publish again with `run`"
            )
        if seal != release.seal:
            raise ReleaseError(f"{place}: edited: its seal does not fit the rest; restore the file from Git")
        return release


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
