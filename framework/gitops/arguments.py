"""The words of a verb that is not Hydra's: ``key=value`` each, known by name, none twice."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from framework.core.errors import ConfigError
from framework.core.suggest import nearest

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def read(
    verb: str, words: Sequence[str], required: Sequence[str], optional: Mapping[str, str]
) -> dict[str, str]:
    """Return the value of every word.

    Args:
        verb: what was asked for.
        words: what was typed after it.
        required: the keys that must be there.
        optional: the other keys and what they are where they are not typed.

    Raises:
        ConfigError: a word is unknown, missing, typed twice, or holds a value that cannot be.
    """
    found: dict[str, str] = {}
    known = [*required, *optional]
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            guess = nearest(key, known)
            hint = f"did you mean '{guess}='?" if guess else f"it takes {', '.join(f'{k}=' for k in known)}"
            raise ConfigError(f"command line '{word}': `run {verb}` does not know this; {hint}")
        if key in found:
            raise ConfigError(f"command line '{word}': '{key}' is given twice")
        found[key] = value
    if missing := [key for key in required if not found.get(key)]:
        example = " ".join(f"{key}=<{key}>" for key in required)
        raise ConfigError(f"command line: '{missing[0]}=' is missing; call it as: run {verb} {example}")
    return {**optional, **found}


def subfolder(key: str, value: str) -> str:
    """Return *value*, a folder below the working folder, as Git writes it.

    Raises:
        ConfigError: it lies elsewhere, where no commit of this folder would hold it.
    """
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ConfigError(f"command line '{key}={value}': name a folder below this one, such as environments")
    return path.as_posix()


def name(key: str, value: str) -> str:
    """Return *value*, the name of a release or of an environment.

    Raises:
        ConfigError: no folder of environments can be called so.
    """
    if _NAME.fullmatch(value) is None:
        raise ConfigError(f"command line '{key}={value}': a name is lower-case letters, digits and dashes")
    return value


def choice(key: str, value: str, choices: Sequence[str]) -> str:
    """Return *value*, which must be one of *choices*.

    Raises:
        ConfigError: it is not.
    """
    if value not in choices:
        raise ConfigError(f"command line '{key}={value}': should be one of {', '.join(choices)}")
    return value
