"""Validate what Hydra composed: every problem at once, each with its place and a guess."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from framework.config.problems import sentence
from framework.config.provenance import locate
from framework.config.schema import Config
from framework.core.errors import ConfigError


def load(composed: DictConfig) -> Config:
    """Return the validated config.

    Raises:
        ConfigError: with one line for every problem, each naming file and line or the override.
    """
    try:
        raw = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(invalid([f"{error.full_key}: this key is required; give it in the recipe"])) from None
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise ConfigError(invalid([f"{key}{str(error).splitlines()[0]}"])) from None
    return validate(raw)


def validate(raw: Any) -> Config:
    """Return the config that plain data describe; see ``load``."""
    plugins = raw.get("plugins") or ()
    context = {"plugins": tuple(plugins) if isinstance(plugins, list | tuple) else ()}
    try:
        return Config.model_validate(raw, context=context)
    except ValidationError as failure:
        lines = []
        for error in failure.errors():
            path = _navigable(error["loc"], raw)
            error["loc"] = path
            place, names_key = locate(path)
            key = "" if names_key or not path else f" {'.'.join(map(str, path))}:"
            lines.append(f"{place}:{key} {sentence(error, Config, raw)}")
        raise ConfigError(invalid(lines)) from None


def invalid(lines: list[str]) -> str:
    """Return the one message of all problems."""
    return "\n  ".join(["Config is invalid:", *dict.fromkeys(lines)])


def _navigable(location: tuple[int | str, ...], raw: Any) -> tuple[int | str, ...]:
    """Drop the parts of *location* that name a member of a union instead of a key."""
    path: list[int | str] = []
    for index, part in enumerate(location):
        inside = isinstance(raw, dict) and part in raw
        inside = inside or (isinstance(raw, list) and isinstance(part, int) and part < len(raw))
        if inside:
            raw = raw[part]
            path.append(part)
        elif index == len(location) - 1 and isinstance(raw, dict):
            path.append(part)
    return tuple(path)
