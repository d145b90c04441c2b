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

from framework.config.bases import extended
from framework.config.options import GROUP, advise, groups, is_group, options, relative
from framework.config.provenance import merged_files
from framework.config.yaml_source import read_source
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
    if isinstance(error, MissingConfigException) and (missing := error.missing_cfg_file):
        return _recipe_place(words, missing), _no_option(missing)
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
    reason = text.removesuffix(".")
    return _recipe_place(words, reason), _hydra_problem(reason, error)


def _recipe_place(words: Sequence[str], text: str) -> str:
    """Return where the recipe has what Hydra's message *text* is about; empty if it is about a word."""
    keys = [word.lstrip("+~").partition("=")[0] for word in words]
    if any(key and key in text for key in keys if key != GROUP):
        return ""
    names = [word.partition("=")[2] for word in words if word.lstrip("+").startswith(f"{GROUP}=")]
    files = [file for name in names for file in extended(name).values()]
    lines = [(_hits(entry, text), file, line) for file in files for line, entry in _lines(file)]
    if not lines:
        return f"{relative(files[0])}:1" if files else ""
    _, file, line = max(lines, key=lambda found: found[0])
    return f"{relative(file)}:{line}"


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the words of each entry of ``defaults``, then of each key."""
    for key, value in read_source(file).root.value:
        for entry in value.value if key.value == "defaults" and isinstance(value, yaml.SequenceNode) else ():
            yield entry.start_mark.line + 1, " ".join(map(str, _words(entry)))
    for key, value in read_source(file).root.value:
        yield key.start_mark.line + 1, " ".join((key.value, *_words(value)))


def _words(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    for inner in node.value if not isinstance(node, yaml.ScalarNode) else ():
        for each in inner if isinstance(inner, tuple) else (inner,):
            yield from _words(each)


def _hits(entry: str, text: str) -> int:
    """Return how many of the words of *entry* are in *text*."""
    return len({*re.findall(r"\w{2,}", entry)} & {*re.findall(r"\w{2,}", text)})


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
