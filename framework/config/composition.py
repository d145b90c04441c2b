"""Errors of Hydra's composition as problems: a file, an option or an override that makes no config.

It runs before validation, and imports no pydantic, so that the command line stays fast.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from framework.config.recipes import GROUP, recipe_names, relative
from framework.core.errors import ConfigError, invalid_config
from framework.core.paths import SHARE
from framework.core.problem import Problem
from framework.core.suggest import nearest

NOT_A_NAME = re.compile(r"null|true|false|[-+]?\d[\d_]*(\.\d*)?(e[-+]?\d+)?|\{.*\}|", re.IGNORECASE)
"""Values that Hydra does not read as the name of an option."""


def is_group(key: str) -> bool:
    """Tell whether *key* is a config group of the working folder or of the framework."""
    return key == GROUP or any((root / "conf" / key).is_dir() for root in _roots())


def as_addition(word: str) -> str:
    """Turn ``a.b=c`` into ``++a.b=c``, so that an unknown key reaches our validation.

    Hydra refuses a key that the option's class has but its YAML does not list, and stops at the first.
    ``recipe=x`` becomes ``+recipe=x``; other choices of options, Hydra's own keys and flags stay unchanged.
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


def composition_error(error: Exception, words: Sequence[str]) -> ConfigError:
    """Return *error*, which Hydra raised for the typed *words*, as the user should see it."""
    place, problem = _problem(error, words)
    return invalid_config([problem], [problem.at(place)] if place else None)


def _problem(error: Exception, words: Sequence[str]) -> tuple[str, Problem]:
    """Return the place of a problem, empty where it is unknown, and the problem."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return "", _no_option(error.missing_cfg_file)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{relative(Path(mark.name))}:{mark.line + 1}", Problem("", f"not YAML: {error.problem}")
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8(), Problem("", f"not UTF-8 text ({error.reason})", advice="save it as UTF-8")
    if isinstance(error, OverrideParseException):
        place = f"command line '{error.override.lstrip('+')}'"
        return place, Problem("", "Hydra cannot parse this as key=value", advice=_QUOTE)
    first = [line for line in str(error).splitlines() if line.strip()]
    text = first[0] if first else type(error).__name__
    if text.startswith("Config group override must be"):
        for word in words:
            key, _, value = word.lstrip("+").partition("=")
            if is_group(key) and NOT_A_NAME.fullmatch(value):
                advice = f"choose one of {', '.join(options(key))}"
                return f"command line '{word}'", Problem("", "should name an option", advice=advice)
    return "", _hydra_problem(text.removesuffix("."), error)


def _hydra_problem(text: str, error: Exception) -> Problem:
    """Return the problem of Hydra's message *text*, with the advice that it lacks."""
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return Problem("", text, advice=_advice(unknown[1], groups()))
    if "is defined before" in text:
        return Problem("", text, advice="move lines with 'override' to the end of the defaults list")
    if text.startswith("Ambiguous value"):
        return Problem("", text, advice="add -m to run one after the other")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    if cause is not None and (why := str(cause).splitlines()[0]) not in text:
        text = f"{text} ({why})"
    return Problem("", text)


_QUOTE = "quote a value with special characters twice: 'key=\"value\"'"


def _no_option(missing: str) -> Problem:
    """Return that there is no option or recipe *missing*."""
    group, _, name = missing.rpartition("/")
    if group == GROUP or missing.startswith(f"{GROUP}/"):
        group, name = GROUP, missing.removeprefix(f"{GROUP}/")
        inner, _, option = name.partition("/")
        if inner in groups():
            reason = "a recipe's defaults list chooses options by 'override'"
            return Problem(inner, reason, advice=f"write 'override /{inner}: {option}'")
        return Problem(group, f"there is no recipe '{name}'", advice=_advice(name, options(GROUP)))
    return Problem(group, f"there is no option '{name}'", advice=_advice(name, options(group)))


def _advice(name: str, known: list[str]) -> str:
    guess = nearest(name, known)
    return f"did you mean '{guess}'?" if guess else f"choose one of {', '.join(known)}"


def _not_utf8() -> str:
    """Return the files that Hydra could not decode; its error does not name them."""
    undecodable = []
    for folder in ("conf", GROUP + "s"):
        for file in sorted(Path(folder).rglob("*.yaml")):
            try:
                file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                undecodable.append(str(file))
    return ", ".join(undecodable) or "a YAML file"


def groups() -> list[str]:
    """Return the names of the config groups: the folders below ``conf``."""
    return sorted({folder.name for root in _roots() for folder in (root / "conf").glob("*/")})


def _roots() -> tuple[Path, Path]:
    return Path.cwd(), SHARE
