"""Whose signatures a check accepts: those that the command line names, or those that an environment names."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from framework.config.compose_config import composed
from framework.config.load import resolved
from framework.core.errors import ConfigError
from framework.core.signers import Signers


def accepted_signers(arguments: Mapping[str, str]) -> Signers:
    """Return the signers of the arguments ``key``, ``identity`` with ``issuer``, and ``trust_config``.

    Raises:
        ConfigError: a file cannot be read, or one of two that belong together is missing.
    """
    identity, issuer, trust = (arguments[key] for key in ("identity", "issuer", "trust_config"))
    if bool(identity) != bool(issuer):
        present, missing = ("identity", "issuer") if identity else ("issuer", "identity")
        raise ConfigError(f"command line '{present}=': it needs '{missing}=' too")
    body = {
        "keys": [_read("key", arguments["key"])] if arguments["key"] else [],
        "identities": [{"subject": identity, "issuer": issuer}] if identity else [],
        "trust_config": _parsed(trust) if trust else None,
    }
    try:
        return Signers.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        key = {"keys": "key", "identities": "issuer"}.get(str(first["loc"][0]), "trust_config")
        reason = first["msg"]
        if key == "key":
            reason = "no public key in PEM; write it with `openssl ec -in <private key> -pubout -out key.pub`"
        raise ConfigError(f"command line '{key}={arguments[key]}': {reason}") from None


def signers_of_environment(environment: str) -> Signers:
    """Return whose signatures the option of *environment* requires, in the working folder.

    Raises:
        ConfigError: there is no such option.
    """
    option = resolved(composed([f"environment={environment}"]))[0]
    return Signers.model_validate(option["environment"].get("signers") or {})


def _read(key: str, file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"command line '{key}={file}': cannot be read: {reason}") from None


def _parsed(file: str) -> object:
    try:
        return json.loads(_read("trust_config", file))
    except ValueError as error:
        raise ConfigError(f"command line 'trust_config={file}': not JSON ({error})") from None
