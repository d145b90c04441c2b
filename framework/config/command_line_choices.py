"""The choices of options on the command line, checked before Hydra stops at the first that it cannot use."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from framework.config.options import GROUP, advise, has_package, is_group, is_too_long, option_file, options
from framework.config.yaml_source import EVERYTHING, Fault
from framework.core.errors import ConfigError, invalid_config
from framework.core.problem import Problem
from framework.core.suggest import nearest

_NOT_A_NAME = re.compile(r"null|true|false|[-+]?\d[\d_]*(\.\d*)?(e[-+]?\d+)?|\{.*\}|", re.IGNORECASE)
"""Values that Hydra does not read as the name of an option."""
_LEFT_TO_HYDRA = re.compile(r".*[($].*")
"""Functions, such as ``glob(*)``, and interpolations."""


@dataclass
class Words:
    """The words of a command line without choices that do not exist."""

    usable: list[str] = field(default_factory=list)
    """The words to compose; a wrong option is replaced by what was probably meant, or left out."""
    faults: list[Fault] = field(default_factory=list)
    dropped: list[Fault] = field(default_factory=list)
    """Faults of single values of a sweep; the others can run."""

    @classmethod
    def check(cls, typed: Sequence[str], sweeps: bool) -> "Words":
        """Check *typed* words; commas separate the values of a sweep if *sweeps* is set."""
        words = cls()
        for word in typed:
            key, equals, value = word.lstrip("+").partition("=")
            keys_of_option = value.startswith("{") and value != "{}"
            group = key.partition("@")[0]
            if equals and is_too_long(key):
                words._refuse(word, f"{key[:40]}…", "there is no key as long as this", "shorten it")
            elif equals and is_group(group) and not keys_of_option and not group.startswith("hydra/"):
                words._add(word, key, value, sweeps)
            else:
                words.usable.append(word)
        return words

    def raised(self, others: ConfigError | None = None) -> ConfigError:
        """Return the one error of all faults, and of *others*."""
        faults = [*self.faults, *self.dropped]
        lines = [fault.problem.at(fault.place) for fault in faults]
        if others is None:
            return invalid_config([fault.problem for fault in faults], lines)
        problems = [*(fault.problem for fault in faults), *others.problems]
        return invalid_config(problems, [*lines, *others.lines])

    def _add(self, word: str, key: str, value: str, sweeps: bool) -> None:
        values = _values(value)
        if _LEFT_TO_HYDRA.fullmatch(value) or (len(values) > 1 and not sweeps):
            self.usable.append(word)
        elif len(values) > 1:
            self._add_sweep(word, key, values)
        elif (known := self._known(word, key, value)) is not None:
            self.usable.append(f"{word.partition('=')[0]}={known}")

    def _add_sweep(self, word: str, key: str, values: Sequence[str]) -> None:
        """Keep the values of a sweep that exist."""
        kept = []
        for value in values:
            alone = Words()
            alone._known(word, key, value)
            self.dropped += alone.faults
            kept += [] if alone.faults else [value]
        if kept:
            self.usable.append(f"{word.partition('=')[0]}={','.join(kept)}")
        else:
            self.faults, self.dropped = [*self.faults, *self.dropped], []

    def _known(self, word: str, key: str, value: str) -> str | None:
        """Return the option, or the list of options, that *word* means; None without one."""
        group, _, package = key.partition("@")
        names = _names(value)
        if names is None:
            return self._known_option(word, group, value, package)
        single = next((name for name in names if not has_package(group, name)), None)
        if len(names) > 1 and single is not None:
            reason = f"takes one option, not a list of {len(names)}"
            self._refuse(word, group, reason, f"set {group}={single}")
            names = [single]
        known = [
            option for name in names or [""] if (option := self._known_option(word, group, name, package))
        ]
        if known and known == _names(value):
            return value  # quotes included
        return f"[{','.join(known)}]" if known else None

    def _known_option(self, word: str, group: str, value: str, package: str) -> str | None:
        name = value.strip(" '\"")
        file = option_file(group, name)
        if file is not None and not _NOT_A_NAME.fullmatch(value):
            return value
        known = options(group)
        hides = EVERYTHING if group == GROUP else package or group
        if _NOT_A_NAME.fullmatch(value):
            advice = f"write \"{group}='{value}'\"" if file and value else f"choose one of {', '.join(known)}"
            self._refuse(word, group, "should name an option", advice, hides)
            return None
        guess = nearest(name, known)
        reason = f"there is no {_kind(group)} '{name}'"
        self._refuse(word, group, reason, advise(name, known), "" if guess else hides)
        return guess

    def _refuse(self, word: str, key: str, reason: str, advice: str, hides: str = "") -> None:
        problem = Problem(key, reason, advice=advice)
        self.faults.append(Fault(Path(), 0, problem, hides.replace("/", "."), word.lstrip("+")))


def _values(value: str) -> list[str]:
    """Return the values that the commas of a sweep separate, as written; else *value* alone."""
    parsed = _parsed(value)
    if parsed is None or parsed.value_type is not ValueType.SIMPLE_CHOICE_SWEEP:
        return [value]
    return list(parsed.sweep_string_iterator())


def _names(value: str) -> list[str] | None:
    """Return the items of *value* if it is a list."""
    items = parsed.value() if (parsed := _parsed(value)) else None
    return [str(item) for item in items] if isinstance(items, list) else None


def _parsed(value: str) -> Override | None:
    """Return *value* as Hydra reads it, None if it cannot."""
    try:
        return OverridesParser.create().parse_override(f"x={value}")
    except HydraException:
        return None


def _kind(group: str) -> str:
    return "recipe" if group == GROUP else "option"
