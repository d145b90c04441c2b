"""Compose a config in this process without Hydra's application: files and words merged as plain data.

Hydra takes a tenth of a second for a config; plans of a whole repository, and searches, compose hundreds.
Its own code still finds the merge order and reads the words. What only OmegaConf can merge is left to it.
"""

import re
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from framework.config.composition import Composition
from framework.config.merge_order import NotPlainError, merge_order, parsed

MISSING = "???"
"""The value of a key that has none yet."""
_EMPTY = re.compile(r"\+*([\w.-]+)=\{\s*\}")


def compose_plain(words: Sequence[str]) -> Composition:
    """Return the config of *words* in Hydra's form, such as ``++tuning.rank=8``.

    Raises:
        OSError: a file cannot be read.
        HydraException, ValueError: the words choose no config.
        NotPlainError: only Hydra can compose it, or tell why it cannot.
    """
    order = merge_order(words)
    config: dict[str, Any] = {}
    for package, file in order.files:
        content = file.content
        if file is order.root and "searchpath" not in content.get("hydra", {}):
            content = {key: value for key, value in content.items() if key != "hydra"}
        elif file.chooses_hydra or "hydra" in content:
            raise NotPlainError(f"{file.path}: sets Hydra's own keys")
        _merge(_mapping(config, package), content)
    for override in order.overrides:
        _apply(config, override)
    return Composition(config, tuple(words), order.choices, order)


def emptied(composition: Composition) -> dict[str, Any]:
    """Return the config with each mapping empty that a word sets to ``{}``: Hydra merges that into it."""
    config, words = composition.config, composition.words
    for index, word in enumerate(words):
        if match := _EMPTY.fullmatch(word):
            later = [other for other in words[index + 1 :] if _is_below(other, match[1])]
            changed = OmegaConf.create(config)
            OmegaConf.update(changed, match[1], {}, merge=False)
            ConfigLoaderImpl._apply_overrides_to_config([*map(parsed, later)], changed)
            plain: Any = OmegaConf.to_container(changed, resolve=False)
            config = plain
    return config


def refers(value: Any) -> bool:
    """Tell whether *value* is text with an interpolation."""
    return isinstance(value, str) and "${" in value


def _is_below(word: str, key: str) -> bool:
    return f"{word.lstrip('+~').partition('=')[0]}.".startswith(f"{key}.")


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        old = into.get(key)
        if value == MISSING and key in into:
            if refers(old):
                raise NotPlainError(key)
        elif isinstance(value, dict | list):
            _set_container(into, key, value)
        else:
            into[key] = value


def _set_container(into: dict[str, Any], key: str, value: dict[str, Any] | list[Any]) -> None:
    """Merge a mapping into a mapping; a list replaces a list, and both replace a scalar."""
    old = into.get(key)
    if refers(old) or (isinstance(old, dict | list) and type(old) is not type(value)):
        raise NotPlainError(key)
    if isinstance(value, dict):
        inner = old if isinstance(old, dict) else {}
        _merge(inner, value)
        into[key] = inner
    else:
        into[key] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _mapping(config: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return the mapping at *path*; scalars on the way become mappings."""
    for key in path:
        inner = config.get(key)
        if isinstance(inner, list) or refers(inner):
            raise NotPlainError(".".join(path))
        if not isinstance(inner, dict):
            inner = config[key] = {}
        config = inner
    return config


def _apply(config: dict[str, Any], override: Override) -> None:
    key, value = override.key_or_group, override.value()
    *above, last = key.split(".")
    forced = override.is_force_add() and override.package is None
    if not forced or not last or "[" in key or "${" in str(value):
        raise NotPlainError(override.input_line)
    node = _mapping(config, above)
    if isinstance(value, dict | list):
        _set_container(node, last, value)
    else:
        node[last] = value
