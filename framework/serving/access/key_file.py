"""The file with the hashes of API keys: its format, and how it is read.

It has no key, only SHA-256 of each. That is enough for keys with 256 random bits, as ``new_key`` makes them:
nobody can try them all. A slow hash such as bcrypt protects passwords, which people choose, and would cost
every request a tenth of a second.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from framework.core.error_text import first_line
from framework.core.errors import ServeError
from framework.serving.caller import Caller, Priority

_MAKE = "make a key and its entry with `python -m framework.serving.access.new_key --name <name>`"
_HASH = "sha256:"
ENVIRONMENT = "environment"
"""The name of the key in the environment variable, which has no limits."""


def hash_of(key: str | bytes) -> str:
    """Return the hash of a key as the file has it.

    >>> hash_of("secret")[:14]
    'sha256:2bb80d5'
    """
    return _HASH + hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


class KeyEntry(BaseModel):
    """One key, without the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-_.a-z0-9]{0,61}[a-z0-9])?$")]
    """What logs and messages call it."""
    hash: Annotated[str, Field(pattern=rf"^{_HASH}[0-9a-f]{{64}}$")]
    """SHA-256 of the key."""
    requests_per_minute: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Most requests, of each server process; None has no limit."""
    tokens_per_minute: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Most tokens of prompts and answers, of each server process; None has no limit."""
    priority: Priority = "normal"
    """The key's share while requests of others wait: ``high`` has four times that of ``normal``, ``low`` a
    quarter."""
    expires: AwareDatetime | None = None
    """When it stops to be accepted, with a time zone; None is never."""

    @property
    def digest(self) -> bytes:
        """The hash's bytes."""
        return bytes.fromhex(self.hash.removeprefix(_HASH))

    def expired(self) -> bool:
        """Return whether it is too late for this key."""
        return self.expires is not None and datetime.now(UTC) >= self.expires

    def caller(self) -> Caller:
        """Return who sends requests with this key."""
        return Caller(self.name, self.priority, self.requests_per_minute, self.tokens_per_minute)


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[KeyEntry, ...]

    @model_validator(mode="after")
    def _distinct(self) -> "KeyFile":
        if any(entry.name == ENVIRONMENT for entry in self.keys):
            raise ValueError(f"the name '{ENVIRONMENT}' is that of the key in the environment")
        for what in ("name", "hash"):
            values = [getattr(entry, what) for entry in self.keys]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two keys have the {what} '{twice}'")
        return self


def read_keys(path: Path, content: bytes) -> tuple[KeyEntry, ...]:
    """Return the keys in the *content* of the file at *path*, which is YAML or JSON.

    Raises:
        ServeError: it has another format.
    """
    try:
        return KeyFile.model_validate(yaml.safe_load(content)).keys
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ServeError(f"{path}: {where}: {first['msg']}; {_MAKE}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ServeError(f"{path}: neither YAML nor JSON: {first_line(error)}; {_MAKE}") from None


def load(path: Path) -> bytes:
    """Return the content of the file at *path*.

    Raises:
        ServeError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ServeError(
            f"{path}: the file of API keys cannot be read: {error.strerror}; set serving.keys, or {_MAKE}"
        ) from None
