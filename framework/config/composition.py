"""Errors of Hydra's composition as problems: a file, an option or an override that makes no config.

It runs before validation, and imports no pydantic, so that the command line stays fast.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from framework.config.options import GROUP, advise, groups, is_group, option_file, options, relative
from framework.config.provenance import merged_files
from framework.config.yaml_source import find, read_source
from framework.core.error_text import first_line
from framework.core.errors import ConfigError, invalid_config
from framework.core.paths import SHARE
from framework.core.problem import Problem

NOT_COMPOSED = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    ValueError,
    AssertionError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
)
"""What Hydra and OmegaConf raise for content that they cannot compose, their own failures included."""


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
    if isinstance(error, OverrideParseException):
        place = f"command line '{error.override.lstrip('+')}'"
        return place, Problem("", "Hydra cannot parse this as key=value", advice=_QUOTE)
    first = [line for line in str(error).splitlines() if line.strip()]
    text = first[0] if first else type(error).__name__
    if isinstance(error.__cause__ or error.__context__, OmegaConfBaseException) and (
        found := _conflict(words)
    ):
        return found
    recipe = next((word.partition("=")[2] for word in words if word.lstrip("+").startswith(f"{GROUP}=")), "")
    file = option_file(GROUP, recipe)
    reason = text.removesuffix(".")
    place = f"{relative(file)}:{find(file, ['hydra'])[1]}" if file and _in_recipe(error, reason) else ""
    return place, _hydra_problem(reason, error)


def _conflict(words: Sequence[str]) -> tuple[str, Problem] | None:
    """Return where a file has a list and an earlier one a mapping, or the reverse; None if none has."""
    known: dict[tuple[str, ...], type[yaml.Node]] = {}
    if not GlobalHydra.instance().is_initialized():
        initialize_config_dir(str(SHARE / "conf"), version_base="1.3", job_name="gitune")
    overrides = [as_addition(word) for word in words if "=" in word and not word.startswith("-")]
    try:
        files = merged_files("config", overrides)
    except NOT_COMPOSED:
        return None
    for package, file in files:
        for path, line, node in _containers(read_source(file).root, package):
            if known.setdefault(path, type(node)) is not type(node):
                is_list = isinstance(node, yaml.SequenceNode)
                reason = f"should be a {'mapping, got a list' if is_list else 'list, got a mapping'}"
                return f"{relative(file)}:{line}", Problem(".".join(path), reason)
    return None


def _containers(
    node: yaml.MappingNode, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], int, yaml.Node]]:
    for key, value in node.value:
        inner = (*path, key.value)
        if not isinstance(value, yaml.ScalarNode) and inner != ("defaults",):
            yield inner, key.start_mark.line + 1, value
        if isinstance(value, yaml.MappingNode):
            yield from _containers(value, inner)


def _in_recipe(error: Exception, text: str) -> bool:
    """Tell whether a recipe's content causes *error*, rather than a word of the command line."""
    return not isinstance(error, HydraException) or f"'{GROUP}/" in text


def _hydra_problem(text: str, error: Exception) -> Problem:
    """Return the problem of Hydra's message *text*, with the advice that it lacks."""
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return Problem("", text, advice=advise(unknown[1], groups()))
    if text.startswith("Ambiguous value"):
        return Problem("", text, advice="add -m to run one after the other")
    if composing := re.match(r"In '[^']+': (\w+) raised while composing", text):
        return Problem("", f"cannot be merged with the rest ({composing[1]})", advice="check the key 'hydra'")
    if isinstance(error, RecursionError):
        return Problem("", "refers to itself endlessly", advice="remove interpolations such as ${...}")
    if not isinstance(error, HydraException | OmegaConfBaseException | ValueError):
        return Problem("", f"Hydra cannot compose it ({type(error).__name__}: {first_line(error)})")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    if cause is not None and (why := first_line(cause)) not in text:
        text = f"{text} ({why})"
    return Problem("", text)


_QUOTE = "quote a value with special characters twice: 'key=\"value\"'"


def _no_option(missing: str) -> Problem:
    """Return that there is no option or recipe *missing*."""
    group, _, name = missing.partition("/") if missing.startswith(f"{GROUP}/") else missing.rpartition("/")
    kind = "recipe" if group == GROUP else "option"
    return Problem(group, f"there is no {kind} '{name}'", advice=advise(name, options(group)))
