"""The release: the only record that passes from the build half to the render half.

It is saved as ``release.lock``: JSON with sorted keys, two spaces and a final newline, so equal releases are
equal files. It contains no time, host name or absolute path. Its ``seal`` is the sha256 of everything else
except its ``approval``, a signature. A lock that does not match its seal is refused wherever it is read; who
made a seal is known only in environments that name their signers.

What a release was built from besides its steps (``ORIGIN``) is unknown in the store, where configs share
steps, and in locks of earlier versions. Unknown fields are left out of the text, so those locks keep their
seal.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from framework.core.component import Component
from framework.core.errors import ReleaseError
from framework.core.gates import Bound, bind

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
LOCK = "release.lock"
NO_RECIPE = "(none)"
"""The recipe's name if a command names none."""
ORIGIN = ("built_for", "clean", "config_digest", "overrides", "steps")
"""The fields that are left out of the text while they are unknown."""
_CHANGED = "-dirty"
"""What locks of earlier versions add to the commit of a tree with changes."""
_KEY_DIGITS = 12


class Release(Component):
    """A published model and its proof."""

    name: str
    """The release's name: a DNS label, the same in every environment."""
    recipe: str
    """The recipe it was built from, or ``(none)`` if only overrides were used."""
    overrides: tuple[str, ...] | None = None
    """The overrides as typed, those without which the config is another one. Its name and environment have
    fields of their own; where it is built and stored does not change it. None: not recorded."""
    built_for: str | None = None
    """The environment option that it was built with, whose hardware enters the steps. A promotion does not
    change it. None: not recorded."""
    config_digest: Digest | None = None
    """The digest of the resolved config that the steps are keyed by; see ``config_digest``. None: not
    recorded."""
    plan: str
    """The key of the plan's last step: 64 hex digits that depend on every input."""
    steps: dict[str, str] | None = None
    """The first twelve hex digits of the key of each step before the last, by its label, so that a
    comparison can name the step that differs. None: not recorded."""
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
    """The Git commit of the working folder when the plan was made; None without Git. Locks of earlier
    versions add ``-dirty`` if tracked files had changes."""
    clean: bool | None = None
    """Whether that commit has every recipe, option, local file and line of code that the release was built
    from. None: not recorded."""
    approval: dict[str, Any] | None = None
    """The signature that admits this release to the environment of its lock: a Sigstore bundle; see
    ``framework.core.approval``. The seal does not cover it. None: not signed."""

    @property
    def changed(self) -> bool | None:
        """Whether it was built from other files than those of its commit; None if that is not recorded."""
        if self.commit is None or self.commit.endswith(_CHANGED):
            return True
        return None if self.clean is None else not self.clean

    @property
    def given(self) -> bool | None:
        """Whether the recipe at the commit gives this release, alone; None if that is not recorded."""
        if self.changed or self.overrides:
            return False
        return None if self.changed is None or self.overrides is None else True

    def served(self) -> "Release":
        """Return what a pod reads: all that is signed, or else no field that earlier servers refuse."""
        if self.approval is not None:
            return self
        return self.model_copy(update={**dict.fromkeys(ORIGIN), "candidate": ""})

    @property
    def full_commit(self) -> str:
        """The commit without a mark for changes; empty if there is none."""
        return (self.commit or "").removesuffix(_CHANGED)

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
        """The sha256 of the lock's text without its seal and approval."""
        return "sha256:" + hashlib.sha256(_text(self._body()).encode()).hexdigest()

    def text(self) -> str:
        """Return the lock file's text, including the seal."""
        approval = {} if self.approval is None else {"approval": self.approval}
        return _text({**self._body(), "seal": self.seal, **approval})

    def _body(self) -> dict[str, Any]:
        body = self.dump()
        del body["_target_"], body["approval"]
        # The seal of a lock that lacks these keys does not cover them.
        empty = {key for key, value in body.items() if key in ORIGIN and value is None}
        empty |= set() if self.candidate else {"candidate"}
        return {key: value for key, value in body.items() if key not in empty}

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


def config_digest(specs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the digest of the part of a config that its steps are keyed by.

    Args:
        specs: each step's spec by its label; without the last step's, which says where to publish.
    """
    return "sha256:" + hashlib.sha256(json.dumps(specs, sort_keys=True).encode()).hexdigest()


def short_key(key: str) -> str:
    """Return the digits of a step's key that a lock keeps."""
    return key[:_KEY_DIGITS]


def built_from(release: Release, digits: int = 40) -> str:
    """Return the commit, overrides and state of the tree that *release* was built from, for people.

    Args:
        release: the release.
        digits: how many digits of the commit to show.
    """
    words = f" with {shlex.join(release.overrides)}" if release.overrides else ""
    if release.commit is None:
        return f"files outside of Git{words}"
    text = f"{release.full_commit[:digits]}{words}"
    if release.changed:
        text += ", from a tree with changes"
    if release.overrides is None:
        text += ", overrides not recorded"
    return text


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
