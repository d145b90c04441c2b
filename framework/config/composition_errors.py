"""Errors of Hydra's composition as problems: a file, an option or an override that makes no config.

It runs before validation, and imports no pydantic, so that the command line stays fast.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from framework.config.bases import extended
from framework.config.merge_order import NotPlainError, merge_order
from framework.config.options import GROUP, advise, groups, has_default, is_group, options, relative
from framework.config.read_recipe import recipe_faults
from framework.config.yaml_source import read_source
from framework.core.error_text import first_line
from framework.core.errors import ConfigError, invalid_config
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
    if re.match(r"[-+~]|hydra[./=@]", bare) or "=" not in word:
        return word
    key, _, value = bare.partition("=")
    key = key.partition("@")[0]
    if key == GROUP:
        return f"+{bare}"
    return word if is_group(key) and not value.startswith("{") else f"++{bare}"


def composition_error(error: Exception, words: Sequence[str]) -> ConfigError:
    """Return *error*, which Hydra raised for the typed *words*, as the user should see it."""
    found = [(fault.place, fault.problem) for name in chosen_recipes(words) for fault in recipe_faults(name)]
    if isinstance(error.__cause__ or error.__context__, OmegaConfBaseException):
        conflicts = _conflicts(words)
    else:
        conflicts = []
    found += conflicts or [_problem(error, words)]
    lines = {problem.at(place) if place else str(problem): problem for place, problem in found}
    return invalid_config([*lines.values()], [*lines])


def chosen_recipes(words: Sequence[str]) -> list[str]:
    """Return the names of the recipes that *words* choose."""
    values = [word.partition("=")[2] for word in words if word.lstrip("+").startswith(f"{GROUP}=")]
    return [name.strip(" '\"") for value in values for name in value.strip("[]").split(",")]


def _problem(error: Exception, words: Sequence[str]) -> tuple[str, Problem]:
    """Return the place of a problem, empty where it is unknown, and the problem."""
    if isinstance(error, MissingConfigException) and (missing := error.missing_cfg_file):
        return _recipe_place(words, missing), _no_option(missing, error.options or ())
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{relative(Path(mark.name))}:{mark.line + 1}", Problem("", f"not YAML: {error.problem}")
    if isinstance(error, OverrideParseException):
        place = f"command line '{error.override.lstrip('+')}'"
        return place, Problem("", "Hydra cannot parse this as key=value", advice=_QUOTE)
    first = [line for line in str(error).splitlines() if line.strip()]
    text = first[0] if first else type(error).__name__
    if choice := _CHOICE.search(text):
        forced = (choice["word"] or "").lstrip("+").partition("=")[0]
        twice = choice["twice"] or choice["again"]
        key = choice["key"] or twice or forced
        exists = bool(twice) or (bool(forced) and has_default(forced))
        return _wrong_choice(key, exists, words, text)
    reason = text.removesuffix(".")
    return _recipe_place(words, reason), _hydra_problem(reason, error)


def _recipe_place(words: Sequence[str], text: str) -> str:
    """Return the word, or the line of the recipe, that Hydra's message *text* is about; empty without."""
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        named = key not in ("", GROUP) and re.search(rf"(?<![\w.@/]){re.escape(key)}(?![\w@])", text)
        if named or f"'{word}'" in text:
            return f"command line '{word.lstrip('+')}'"
    files = [file for name in chosen_recipes(words) for file in extended(name).values()]
    lines = [(_hits(entry, text), file, line) for file in files for line, entry in _lines(file)]
    hits, file, line = max(lines, key=lambda found: found[0], default=(0, Path(), 0))
    return f"{relative(file)}:{line}" if hits else ""


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the words of each entry of ``defaults``, and of each other key."""
    for key, value in read_source(file).root.value:
        if key.value != "defaults":
            yield key.start_mark.line + 1, " ".join((key.value, *_words(value)))
        elif isinstance(value, yaml.SequenceNode):
            for entry in value.value:
                yield entry.start_mark.line + 1, " ".join(map(str, _words(entry)))


def _words(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    for inner in node.value if not isinstance(node, yaml.ScalarNode) else ():
        for each in inner if isinstance(inner, tuple) else (inner,):
            yield from _words(each)


def _hits(entry: str, text: str) -> int:
    """Return how many of the words of *entry* are in *text*."""
    return len({*re.findall(r"\w{2,}", entry)} & {*re.findall(r"\w{2,}", text)})


def _conflicts(words: Sequence[str]) -> list[tuple[str, Problem]]:
    """Return where files have a list and an earlier one a mapping, or the reverse."""
    known: dict[tuple[str, ...], type[yaml.Node]] = {}
    overrides = [as_addition(word) for word in words if "=" in word and not word.startswith("-")]
    try:
        files = merge_order(overrides).files
    except (NotPlainError, *NOT_COMPOSED):
        return []
    found = []
    for package, file in files:
        for path, line, node in _containers(read_source(file.path).root, package):
            if known.setdefault(path, type(node)) is not type(node):
                is_list = isinstance(node, yaml.SequenceNode)
                reason = f"should be a {'mapping, got a list' if is_list else 'list, got a mapping'}"
                found.append((f"{relative(file.path)}:{line}", Problem(".".join(path), reason)))
    return found


def _containers(
    node: yaml.MappingNode, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], int, yaml.Node]]:
    for key, value in node.value:
        inner = (*path, key.value)
        if not isinstance(value, yaml.ScalarNode) and inner != ("defaults",):
            yield inner, key.start_mark.line + 1, value
        if isinstance(value, yaml.MappingNode):
            yield from _containers(value, inner)


_CHOICE = re.compile(
    r"Could not override '(?P<key>[^']+)'|Multiple values for (?P<twice>[^\s']+)\.(?:\s|$)"
    r"|(?P<again>[^\s']+) appears more than once in the final defaults list"
    r"|force-add of config groups is not supported: '(?P<word>[^']+)'"
)
"""Hydra's messages of a group whose option it cannot choose in this way."""


def _wrong_choice(key: str, exists: bool, words: Sequence[str], text: str) -> tuple[str, Problem]:
    """Return the problem of the group *key*, where *exists* tells whether it has an option already."""
    typed = next((word for word in words if word.lstrip("+").partition("=")[0] == key), "")
    bare = typed.lstrip("+")
    place = f"command line '{typed}'" if typed else _recipe_place(words, text)
    group = key.partition("@")[0]
    if not is_group(group):
        reason = "Hydra has no such key" if key.startswith("hydra") else "there is no such group"
        return place, Problem(key, reason, advice="" if key.startswith("hydra") else advise(group, groups()))
    if exists:
        advice = f"write '{bare}'" if bare else f"write 'override /{key}: <option>'"
        return place, Problem(key, "has an option already", advice=advice)
    advice = f"write '+{bare}'" if bare else f"write '/{key}: <option>', without 'override'"
    return place, Problem(key, "has no option to override", advice=advice)


def _hydra_problem(text: str, error: Exception) -> Problem:
    """Return the problem of Hydra's message *text*, with the advice that it lacks."""
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


def _no_option(missing: str, known: Sequence[str]) -> Problem:
    """Return that there is no option or recipe *missing*."""
    group, _, name = missing.partition("/") if missing.startswith(f"{GROUP}/") else missing.rpartition("/")
    kind = "recipe" if group == GROUP else "option"
    known = known if known and group != GROUP else options(group)
    return Problem(group, f"there is no {kind} '{name}'", advice=advise(name, known))
