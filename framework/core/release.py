"""The release: the only record that passes from the build half to the render half.

It is saved as ``release.lock``: JSON with sorted keys, two spaces and a final newline, so equal releases are
equal files. It contains no time, host name or absolute path. Its ``seal`` is the sha256 of everything else.
A lock that was edited is refused wherever it is read, so the metrics that pass a gate are the measured ones.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from framework.core.component import Component
from framework.core.errors import ReleaseError
from framework.core.gates import Bound, bind

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
LOCK = "release.lock"


class Release(Component):
    """A published model and its proof."""

    name: str
    """The release's name: a DNS label, the same in every environment."""
    recipe: str
    """The recipe it was built from, or ``(none)`` if only overrides were used."""
    plan: str
    """The key of the plan's last step: 64 hex digits that depend on every input."""
    model_uri: str
    """The model's location, as configured: any URL that fsspec opens, or a path."""
    digest: Digest
    """The digest of the published folder; see ``framework.core.filesystem.tree_digest``."""
    candidate: str = ""
    """The released candidate, such as ``int4``; empty in locks that were written before it was recorded."""
    engine: str
    """The engine that runs the published folder, such as ``genai``."""
    task: str
    """The model's task: a module of ``framework.build.task``, such as ``causal-lm``, or a plugin's by its
    dotted path."""
    base_model: str
    """The base model's source, with its revision or version."""
    base_model_license: str
    """The base model's license, as its option states it (an SPDX identifier if there is one)."""
    data_digest: Digest
    """The digest of the prepared rows."""
    chat_template_digest: Digest | None
    """The digest of the chat template's text; None if there is no template."""
    metrics: dict[str, float]
    """Flat ``<candidate>.<metric>``, such as ``tuned.exact_match``."""
    gates: dict[str, str]
    """The bound of every passed gate by metric, such as ``>= 0.5``."""
    commit: str | None
    """The Git commit of the working folder, ``-dirty`` if it had changes; None without Git."""

    @property
    def released(self) -> tuple[str, ...]:
        """The released candidate; of a lock that does not name it, each one that may be it."""
        if self.candidate:
            return (self.candidate,)
        names = sorted({name.partition(".")[0] for name in self.metrics})
        exported = [name for name in names if f"{name}.agreement" in self.metrics]
        # An uncompressed export is evaluated only if it is the one that is released.
        evaluated = [name for name in exported if f"{name}.metric_loss" in self.metrics]
        return tuple(evaluated or exported or ["tuned"])

    def bounds(self, gates: Mapping[str, Bound]) -> dict[str, Bound]:
        """Return an environment's *gates* by flat metric name; a bare one binds the released candidate."""
        return bind(gates, lambda metric: self.released)

    @property
    def seal(self) -> str:
        """The sha256 of the lock's text without its seal."""
        return "sha256:" + hashlib.sha256(_text(self._body()).encode()).hexdigest()

    def text(self) -> str:
        """Return the lock file's text, including the seal."""
        return _text({**self._body(), "seal": self.seal})

    def _body(self) -> dict[str, Any]:
        body = self.dump()
        del body["_target_"]
        if not self.candidate:  # the seal of such a lock does not cover it
            del body["candidate"]
        return body

    @classmethod
    def read(cls, path: Path) -> "Release":
        """Read a lock.

        Raises:
            ReleaseError: it is missing, incomplete, or was edited.
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
    def parse(cls, text: str, source: str) -> "Release":
        """Return the release from a lock's *text*; *source* is its path or URL, for messages.

        Raises:
            ReleaseError: it is incomplete, or was edited.
        """
        try:
            body = json.loads(text)
            seal = body.pop("seal", None) if isinstance(body, dict) else None
            release = cls.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            where = f"{source}: {key}" if key else source
            raise ReleaseError(f"{where}: {first['msg']}; restore the file from Git") from None
        except ValueError as error:
            raise ReleaseError(f"{source}: not JSON ({error}); restore the file from Git") from None
        if seal is None:
            raise ReleaseError(
                f"{source}: it has no seal, so its metrics cannot be trusted; publish again with `run`"
            )
        if seal != release.seal:
            raise ReleaseError(
                f"{source}: edited: its seal does not match its content; restore the file from Git"
            )
        return release


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
