"""What Hydra could not compose, in one sentence.

Validation has not begun here: a file, an option or an override does not even make a config. It imports
no pydantic, so that the command line stays quick.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from framework.config.recipes import GROUP, recipe_names, relative
from framework.core.error_text import first_line
from framework.core.paths import SHARE
from framework.core.suggest import nearest

NOT_A_NAME = re.compile(r"null|true|false|[-+]?\d[\d_]*(\.\d*)?(e[-+]?\d+)?|\{.*\}|", re.IGNORECASE)
"""Values that Hydra reads as something else than an option's name."""


def is_group(key: str) -> bool:
    """Tell whether *key* is a config group of the working folder or of the framework."""
    return key == GROUP or any((root / "conf" / key).is_dir() for root in _roots())


def as_addition(word: str) -> str:
    """Turn ``a.b=c`` into ``++a.b=c``, so that an unknown key reaches our validation.

    Hydra would refuse a key that the option's YAML does not repeat although the class has it, and
    would stop at the first. ``recipe=x`` means ``+recipe=x``; other group choices, Hydra's own keys and
    flags stay as they are.
    """
    bare = word.removeprefix("+")
    if bare.startswith(("-", "+", "~", "hydra")) or "=" not in word:
        return word
    key = bare.partition("=")[0].partition("@")[0]
    if key == GROUP:
        return f"+{bare}"
    return word if is_group(key) else f"++{bare}"


def options(group: str) -> list[str]:
    """Return the names of a group's options, recipes included."""
    if group == GROUP:
        return sorted({name for root in _roots() for name in recipe_names(root / "recipes")})
    return sorted({file.stem for root in _roots() for file in (root / "conf" / group).glob("*.yaml")})


def problem(error: Exception, words: Sequence[str]) -> str:
    """Say what is wrong with what was typed as *words*, and how to mend it."""
    return f"Config is invalid:\n  {_sentence(error, words)}"


def _sentence(error: Exception, words: Sequence[str]) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_option(error.missing_cfg_file)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{relative(Path(mark.name))}:{mark.line + 1}: not YAML: {error.problem}"
    if isinstance(error, UnicodeDecodeError):
        return f"{_not_text()}: not UTF-8 text ({error.reason}); save it as UTF-8"
    if isinstance(error, OverrideParseException):
        return f"command line '{error.override.lstrip('+')}': not key=value as Hydra reads it; {_QUOTE}"
    first = [line for line in str(error).splitlines() if line.strip()]
    text = first[0] if first else type(error).__name__
    if text.startswith("Config group override must be"):
        for word in words:
            key, _, value = word.lstrip("+").partition("=")
            if is_group(key) and NOT_A_NAME.fullmatch(value):
                return f"command line '{word}': should name an option; known: {', '.join(options(key))}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"{text.removesuffix('.')}; {_hint(found[1], groups())}"
    if "is defined before" in text:
        return f"{text.removesuffix('.')}; in a defaults list, lines with 'override' come last"
    if text.startswith("Ambiguous value"):
        return f"{text}; add -m to do one after the other"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    if cause is not None and (why := first_line(cause)) not in text:
        text = f"{text} ({why})"
    return text


_QUOTE = "quote a value with special characters twice: 'key=\"value\"'"


def _no_option(missing: str) -> str:
    """Say that the option or recipe *missing* is not there."""
    group, _, name = missing.rpartition("/")
    if group == GROUP or missing.startswith(f"{GROUP}/"):
        group, name = GROUP, missing.removeprefix(f"{GROUP}/")
        inner, _, option = name.partition("/")
        if inner in groups():
            return f"{inner}: a recipe's defaults list chooses an option by 'override /{inner}: {option}'"
        return f"{group}={name}: no such recipe; {_hint(name, options(GROUP))}"
    return f"{group}={name}: no such option; {_hint(name, options(group))}"


def _hint(name: str, known: list[str]) -> str:
    guess = nearest(name, known)
    return f"did you mean '{guess}'?" if guess else f"known: {', '.join(known)}"


def _not_text() -> str:
    """Name the files that kept Hydra from reading: it does not say which they were."""
    found = []
    for folder in ("conf", GROUP + "s"):
        for file in sorted(Path(folder).rglob("*.yaml")):
            try:
                file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                found.append(str(file))
    return ", ".join(found) or "a YAML file"


def groups() -> list[str]:
    """Return the names of the config groups: the folders below ``conf``."""
    found = {folder.name for root in _roots() for folder in (root / "conf").glob("*/")}
    return sorted(found)


def _roots() -> tuple[Path, Path]:
    return Path.cwd(), SHARE
