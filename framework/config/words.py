"""The choices of options on the command line, checked before Hydra stops at the first that it cannot use."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from framework.config.options import GROUP, advise, has_package, is_group, option_file, options
from framework.config.yaml_source import EVERYTHING, Fault
from framework.core.errors import ConfigError, invalid_config
from framework.core.problem import Problem
from framework.core.suggest import nearest

_NOT_A_NAME = re.compile(r"null|true|false|[-+]?\d[\d_]*(\.\d*)?(e[-+]?\d+)?|\{.*\}|", re.IGNORECASE)
"""Values that Hydra does not read as the name of an option."""
_LEFT_TO_HYDRA = re.compile(r".*[($].*|[^\[].*,.*")
"""Sweeps and interpolations."""


@dataclass
class Words:
    """The words of a command line without choices that do not exist."""

    usable: list[str] = field(default_factory=list)
    """The words to compose; a wrong option is replaced by what was probably meant, or left out."""
    faults: list[Fault] = field(default_factory=list)
    dropped: list[Fault] = field(default_factory=list)
    """Faults of single values of a sweep; the others can run."""
    _chosen: set[str] = field(default_factory=set)

    @classmethod
    def check(cls, typed: Sequence[str], sweeps: bool) -> "Words":
        """Check *typed* words; commas separate the values of a sweep if *sweeps* is set."""
        words = cls()
        for word in typed:
            key, equals, value = word.lstrip("+").partition("=")
            keys_of_option = value.startswith("{") and value != "{}"
            if equals and is_group(key.partition("@")[0]) and not keys_of_option:
                words._add(word, key, value, sweeps)
            else:
                words.usable.append(word)
        words.usable = [word for word in words.usable if word]
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
        if key in self._chosen:
            reason = f"'{key}' is chosen twice"
            self._refuse(word, key, reason, "leave one of the two out")
            self.usable = ["" if word.lstrip("+").startswith(f"{key}=") else word for word in self.usable]
        self._chosen.add(key)
        if sweeps and "," in value and not _LEFT_TO_HYDRA.fullmatch(value.replace(",", "")):
            self._add_sweep(word, key, value)
        elif _LEFT_TO_HYDRA.fullmatch(value):
            self.usable.append(word)
        elif (known := self._known(word, key, value)) is not None:
            self.usable.append(f"{word.partition('=')[0]}={known}")

    def _add_sweep(self, word: str, key: str, value: str) -> None:
        """Keep the values of a sweep that exist."""
        group = key.partition("@")[0]
        names = value.split(",")
        kept = [name for name in names if option_file(group, _unquoted(name))]
        for name in names:
            if name not in kept:
                reason = f"there is no {_kind(group)} '{name}'"
                problem = Problem(group, reason, advice=advise(name, options(group)))
                self.dropped.append(Fault(Path(), 0, problem, "", word.lstrip("+")))
        if kept:
            self.usable.append(f"{word.partition('=')[0]}={','.join(kept)}")
        else:
            self.faults, self.dropped = [*self.faults, *self.dropped], []

    def _known(self, word: str, key: str, value: str) -> str | None:
        """Return the option that *word* means, None without one."""
        group, _, package = key.partition("@")
        if not value.startswith("["):
            return self._known_option(word, group, value, package)
        names = [name.strip() for name in value.strip("[]").split(",")]
        single = next((name for name in names if not has_package(group, _unquoted(name))), None)
        if len(names) > 1 and single is not None:
            reason = f"takes one option, not a list of {len(names)}"
            self._refuse(word, group, reason, f"set {group}={single}")
            names = [single]
        known = [option for name in names if (option := self._known_option(word, group, name, package))]
        return f"[{','.join(known)}]" if known else None

    def _known_option(self, word: str, group: str, value: str, package: str) -> str | None:
        name = _unquoted(value)
        if option_file(group, name) and name:
            return value
        known = options(group)
        if _NOT_A_NAME.fullmatch(value):
            advice = f"choose one of {', '.join(known)}"
            self._refuse(word, group, "should name an option", advice, package or group)
            return None
        guess = nearest(name, known)
        hides = "" if guess else EVERYTHING if group == GROUP else package or group
        self._refuse(word, group, f"there is no {_kind(group)} '{name}'", advise(name, known), hides)
        return guess

    def _refuse(self, word: str, key: str, reason: str, advice: str, hides: str = "") -> None:
        problem = Problem(key, reason, advice=advice)
        self.faults.append(Fault(Path(), 0, problem, hides.replace("/", "."), word.lstrip("+")))


def _unquoted(name: str) -> str:
    return name.strip(" '\"")


def _kind(group: str) -> str:
    return "recipe" if group == GROUP else "option"
