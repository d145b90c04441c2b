"""The ``defaults`` list of a recipe: every entry that Hydra would refuse, or pass in silence, with its line.

A wrong entry is replaced by what was probably meant, or left out, so that the rest composes and all problems
are reported at once. Entries of ``hydra/…`` and interpolations are left to Hydra.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework.config.bases import KEYWORDS, absolute_name, choices_of, extended
from framework.config.options import (
    GROUP,
    advise,
    groups,
    has_default,
    has_package,
    is_group,
    option_file,
    options,
)
from framework.config.yaml_source import EVERYTHING, Fault, plain
from framework.core.problem import Problem
from framework.core.suggest import nearest

_SELF = "_self_"
_ORDER = "_self_ and recipes first, then '/<group>@<key>: <option>', then overrides"


@dataclass
class Defaults:
    """The checked entries of one recipe's ``defaults``."""

    file: Path
    folder: str
    """The folder of the recipe below ``recipes``, to which names without a leading slash are relative."""
    line: int = 1
    """The line of the entry that is being checked."""
    faults: list[Fault] = field(default_factory=list)
    _defined: set[str] = field(default_factory=set)
    """The choices that exist without ``override``, such as ``data@phases.task.data``."""
    _first: list[Any] = field(default_factory=list)
    _overrides: list[Any] = field(default_factory=list)
    _lines: dict[str, int] = field(default_factory=dict)

    @property
    def entries(self) -> list[Any]:
        """The usable entries as plain data, in an order that Hydra accepts."""
        return [*self._first, *self._overrides]

    def check(self, node: yaml.Node) -> None:
        """Add the entries of *node*, the value of ``defaults``."""
        self.line = node.start_mark.line + 1
        if not isinstance(node, yaml.SequenceNode):
            advice = f"write '- ' before each entry: {_ORDER}"
            self._refuse("defaults", f"should be a list, got {_shown(node)}", advice)
            return
        for entry in node.value:
            self.line = entry.start_mark.line + 1
            if isinstance(entry, yaml.MappingNode) and len(entry.value) == 1:
                key, value = entry.value[0]
                self._check_choice(key.value, value)
            elif isinstance(entry, yaml.ScalarNode) and isinstance(plain(entry), str):
                self._check_name(entry.value)
            else:
                advice = f"write a recipe's name, or one '/<group>: <option>', an entry: {_ORDER}"
                self._refuse("defaults", f"should be a name or one choice, got {_shown(entry)}", advice)

    def _check_name(self, text: str) -> None:
        """Add the recipe *text*, or ``_self_``."""
        if "${" in text or "@" in text:
            self._first.append(text)
            return
        if text == _SELF:
            if not self._repeated(_SELF, _SELF):
                self._first.append(text)
            return
        first, *rest = text.split()
        if rest:
            meant = next((word for word in text.split() if word not in KEYWORDS), text)
            advice = f"write '{first} /{meant.strip('/:')}: <option>'"
            self._refuse("defaults", f"'{text}' is not the name of a recipe", advice)
            return
        inner, _, option = text.strip("/").partition("/")
        if text.startswith("/") and inner != GROUP and not has_default(inner) and _is_group_file(text):
            self._first.append(text)  # a file of the team's own folder ./conf
            return
        name = absolute_name(text, self.folder)
        if option and inner != GROUP and is_group(inner) and not option_file(GROUP, name):
            reason = "an option is chosen by '<group>: <option>'"
            self._check_option(inner, "", option, has_default(inner), reason)
            return
        self._add_recipe(name, text)

    def _add_recipe(self, name: str, text: str) -> None:
        outside = text.startswith("/") and not text.startswith(f"/{GROUP}/")  # such as '/tiny'
        if option_file(GROUP, name) is None or outside:
            plain_name = text.strip("/").removeprefix(f"{GROUP}/")
            if option_file(GROUP, plain_name) is not None:
                self._refuse(GROUP, f"there is no recipe '{text}' here", f"write '/{GROUP}/{plain_name}'")
                name = plain_name
            else:
                known = options(GROUP)
                guess = nearest(plain_name, known)
                reason = f"there is no recipe '{plain_name}'"
                self._refuse(GROUP, reason, advise(plain_name, known), "" if guess else EVERYTHING)
                if guess is None:
                    return
                name = guess
        if self._repeated(f"{GROUP}/{name}", f"recipe '{name}'"):
            return
        reached = extended(name)
        if self.file in reached.values():
            self._refuse(GROUP, f"'{text}' is, or extends, this recipe itself", "leave it out")
            return
        if self._overrides:
            self._refuse(GROUP, f"'{text}' is below an override", "move overrides to the end of the list")
        self._defined |= {place for file in reached.values() for place in choices_of(file)}
        self._first.append(f"/{GROUP}/{name}")

    def _check_choice(self, key: str, value: yaml.Node) -> None:
        """Add one mapping, ``[override] [optional] /group[@package]: option``."""
        *words, target = key.split() or [""]
        group, _, package = target.partition("@")
        name = group.strip("/")
        if (name.startswith("hydra/") and group.startswith("/")) or "${" in key:
            (self._overrides if "override" in words else self._first).append({key: plain(value)})
            return
        if name == GROUP:
            text = str(value.value) if isinstance(value, yaml.ScalarNode) else "<name>"
            self._refuse(GROUP, "a recipe is extended by its name alone", f"write '- /{GROUP}/{text}'")
            if text != "<name>":
                self._add_recipe(text, f"/{GROUP}/{text}")
            return
        reason, override = "", "override" in words
        for word in words:
            if word not in KEYWORDS:
                reason = f"'{word}' is no keyword"
                override = override or nearest(word, KEYWORDS) == "override"
        if name.startswith("hydra/"):
            self._refuse(name, "the group needs a leading slash", f"write '{key.replace(group, '/' + name)}'")
            return
        if not is_group(name):
            reason = f"there is no group '{name}'"
            guess = nearest(name, groups())
            if guess is None:
                self._refuse("defaults", reason, advise(name, groups()))
                return
            name = guess
        elif not group.startswith("/"):
            reason = f"the group '{name}' needs a leading slash"
        if package in (name.replace("/", "."), f"_global_.{name.replace('/', '.')}"):
            package = ""
        elif package == "_global_" and has_default(name):
            package, reason = "", f"an option of '{name}' cannot be at the root"
        chosen = _value(value)
        if "optional" in words and not has_default(name):
            if "${" in str(chosen):
                (self._overrides if override else self._first).append({key: chosen})
                return
            if isinstance(chosen, str | list) and not (chosen := _existing(name, chosen)):
                return
        self._check_option(name, package, chosen, override, reason)

    def _check_option(self, group: str, package: str, value: Any, override: bool, reason: str = "") -> None:
        """Add one choice; *reason* says what is wrong with its spelling, if anything is."""
        place = f"{group}@{package}" if package else group
        if self._repeated(place, f"an option of '{place}'"):
            return
        if (chosen := self._known_options(group, package, value)) is _NOTHING:
            return
        exists = (not package and has_default(group)) or place in self._defined
        # An option of another file may define a choice with a package; only Hydra knows.
        right = exists or (override and bool(package))
        if override and not right:
            reason = reason or f"'{place}' has no option to override"
        elif right and not override:
            reason = reason or f"'{place}' has an option already"
        elif not right and self._overrides:
            reason = reason or "is below an override"
        entry = f"{'override ' if right else ''}/{place}"
        if reason:
            shown = f"[{', '.join(chosen)}]" if isinstance(chosen, list) else chosen
            where = "" if right or not self._overrides else ", above the overrides"
            self._refuse(place, reason, f"write '{entry}: {shown}'{where}")
        if not right:
            self._defined.add(place)
        (self._overrides if right else self._first).append({entry: chosen})

    def _known_options(self, group: str, package: str, value: Any) -> Any:
        """Return the options *value*, with guesses for those that do not exist; ``_NOTHING`` without any."""
        if (value is None and (package or not has_default(group))) or "${" in str(value):
            return value
        hidden = package or group.replace("/", ".")
        if not isinstance(value, list):
            known = self._known_option(group, value, hidden)
            return _NOTHING if known is None else known
        unique = list(dict.fromkeys(map(str, value)))
        for name in unique if len(unique) < len(value) else []:
            if value.count(name) > 1:
                self._refuse(group, f"'{name}' is listed twice", "leave one out")
        single = next((name for name in unique if not has_package(group, name)), None)
        if len(unique) > 1 and single is not None:
            reason = f"takes one option, not a list of {len(unique)}"
            self._refuse(group, reason, f"write '/{group}: {single}'", hidden)
            unique = [single]
        chosen = [known for name in unique if (known := self._known_option(group, name, hidden))]
        return chosen or _NOTHING

    def _known_option(self, group: str, value: Any, hidden: str) -> str | None:
        if isinstance(value, str) and option_file(group, value):
            return value
        known = options(group)
        if not isinstance(value, str):
            advice = f"choose one of {', '.join(known)}"
            shown = "null" if value is None else value
            self._refuse(group, f"should name an option, got {shown}", advice, hidden)
            return None
        guess = nearest(value, known)
        self._refuse(group, f"there is no option '{value}'", advise(value, known), "" if guess else hidden)
        return guess

    def _repeated(self, key: str, text: str) -> bool:
        """Tell whether *key* is a second time in the list, and refuse it then."""
        if key in self._lines:
            subject = "defaults" if key == _SELF else key.partition("/")[0] if key.startswith(GROUP) else key
            self._refuse(subject, f"{text} is in line {self._lines[key]} already", "leave one of the two out")
            return True
        self._lines[key] = self.line
        return False

    def _refuse(self, key: str, reason: str, advice: str, hides: str = "") -> None:
        self.faults.append(Fault(self.file, self.line, Problem(key, reason, advice=advice), hides))


_NOTHING = object()


def _value(node: yaml.Node) -> Any:
    """Return the option that *node* names; for another value than a name or a list, a word that shows it."""
    data = plain(node)
    if data is None or isinstance(data, str | list):
        return data
    return _Shown(_shown(node))


def _existing(group: str, value: str | list[Any]) -> Any:
    """Return the options among *value* that have a file, as ``optional`` means; empty without any."""
    if isinstance(value, str):
        return value if option_file(group, value) else ""
    return [name for name in value if option_file(group, str(name))]


class _Shown:
    """A value that is no name."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"'{node.value}'"
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"


def _is_group_file(text: str) -> bool:
    """Tell whether the entry *text*, such as ``/shared/base``, is a file below a ``conf`` folder."""
    group, _, name = text.strip("/").rpartition("/")
    return text != "/config" and option_file(group, name) is not None
