"""Parse the ``key=value`` arguments of verbs that Hydra does not handle."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

from framework.core.errors import ConfigError
from framework.core.suggest import nearest

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def parse_arguments(
    verb: str, words: Sequence[str], required: Sequence[str], optional: Mapping[str, str]
) -> dict[str, str]:
    """Return the value of every argument.

    Args:
        verb: the verb.
        words: what the user typed after it.
        required: keys that must be present.
        optional: the other keys and their defaults.

    Raises:
        ConfigError: an argument is unknown, missing or repeated.
    """
    values: dict[str, str] = {}
    keys = [*required, *optional]
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in keys:
            guess = nearest(key, keys)
            hint = f"did you mean '{guess}='?" if guess else f"known are {', '.join(f'{k}=' for k in keys)}"
            raise ConfigError(f"command line '{word}': unknown argument of `run {verb}`; {hint}")
        if key in values:
            raise ConfigError(f"command line '{word}': '{key}' is set twice")
        values[key] = value
    if missing := [key for key in required if not values.get(key)]:
        example = " ".join(f"{key}=<{key}>" for key in required)
        raise ConfigError(f"command line: '{missing[0]}=' is missing; usage: run {verb} {example}")
    return {**optional, **values}


def subfolder(key: str, value: str) -> str:
    """Return *value*, a folder below the working folder, as a normalized POSIX path.

    Raises:
        ConfigError: it is outside the working folder, or reached by a link, where no commit could include it.
    """
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ConfigError(f"command line '{key}={value}': name a folder below this one, such as environments")
    require_no_link(Path(), path)
    return path.as_posix()


def require_no_link(folder: Path, path: PurePath) -> None:
    """Refuse a *path* below *folder* that leads through a link: Git and Argo CD do not follow it.

    Raises:
        ConfigError: names the link.
    """
    for part in (*reversed(path.parents), path):
        if (folder / part).is_symlink():
            raise ConfigError(f"{part}: a link, which Git does not follow; replace it with a folder")


def name(key: str, value: str) -> str:
    """Return *value*, the name of a release or an environment.

    Raises:
        ConfigError: it is not a valid name.
    """
    if _NAME.fullmatch(value) is None:
        raise ConfigError(f"command line '{key}={value}': use lower-case letters, digits and dashes only")
    return value


def choice(key: str, value: str, choices: Sequence[str]) -> str:
    """Return *value*, which must be one of *choices*.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        raise ConfigError(f"command line '{key}={value}': should be one of {', '.join(choices)}")
    return value
