"""What may follow the words of an unfinished command: options, keys and values.

Keys are those of the classes of the chosen options, so that one that no YAML file lists is offered too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, get_origin

from framework.config.compose_config import composed
from framework.config.options import GROUP, add_folders, groups, options
from framework.config.owner import choices, component_in, field, imported
from framework.config.schema import BASES, GROUPS, Config
from framework.core.component import TARGET, Component
from framework.core.errors import FrameworkError
from framework.core.source import Source


def completions(words: Sequence[str], unfinished: str) -> list[str]:
    """Return what *unfinished* may become after the complete *words*, sorted."""
    add_folders(words)
    sign = unfinished[: len(unfinished) - len(unfinished.lstrip("+~"))]
    bare = unfinished.removeprefix(sign)
    key, assigned, value = bare.partition("=")
    if assigned:
        before = value[: max(value.rfind(","), value.rfind("[")) + 1]  # of several values
        found = [f"{key}={before}{known}" for known in _values(key, words)]
    else:
        found = list(_keys(key, words))
    return sorted({sign + word for word in found if word.startswith(bare)})


def _values(key: str, words: Sequence[str]) -> list[str]:
    """Return the options of the group *key*, such as ``data@phases.a.data``, or the key's values."""
    group = key.partition("@")[0]
    if group == GROUP or group in groups():
        return options(group)
    above, _, name = key.rpartition(".")
    raw = _composed(words)
    cls = _class_at(raw, above.split(".") if above else [])
    found = field(cls, name)
    accepted = choices(found.annotation) if found else []
    current = _at(raw, key.split(".")) if not accepted else None
    known = [*accepted, *([current] if isinstance(current, int | float | str) else [])]
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in known]


def _keys(key: str, words: Sequence[str]) -> Iterator[str]:
    """Yield the groups, and the keys below the mapping that *key* begins with."""
    above, _, _ = key.rpartition(".")
    path = above.split(".") if above else []
    if not path:
        yield from (f"{group}=" for group in [GROUP, *groups()])
    raw = _composed(words)
    cls = _class_at(raw, path)
    node = _at(raw, path)
    names = [*(cls.model_fields if cls else ()), *(node if isinstance(node, Mapping) else ())]
    for name in dict.fromkeys(map(str, names)):
        if name != TARGET:
            yield ".".join([*path, name]) + _ending(cls, name, node)


def _ending(cls: type[Component] | None, name: str, node: Any) -> str:
    """Return ``.`` if the key *name* holds a mapping, else ``=``."""
    found = field(cls, name)
    below = isinstance(node, Mapping) and isinstance(node.get(name), Mapping)
    # Of a union, such as a source, one value is the common form.
    only = found is not None and found.annotation is component_in(found.annotation) is not Source
    return "." if below or only else "="


def _class_at(raw: Any, path: Sequence[str]) -> type[Component] | None:
    """Return the class of the mapping at *path* of *raw*; the framework's option there is imported."""
    cls: type[Component] | None = Config
    named: type[Component] | None = None
    node = raw
    for depth, key in enumerate(path):
        found = field(cls, key) if cls else None
        inside = component_in(found.annotation) if found else None
        is_dict = found is not None and get_origin(found.annotation) is dict
        cls, named = (None, inside) if is_dict else (named or inside, None)
        node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and TARGET in node:
            cls = _framework_class(str(node[TARGET])) or cls
        elif depth and BASES.get(key) is cls:
            cls = _class_at(raw, [key])  # a phase changes the recipe's own option
    return cls


def _framework_class(target: str) -> type[Component] | None:
    """Return the class *target*, imported if it is the framework's; a plugin is not imported for a word."""
    module = target.rpartition(".")[0]
    if module.startswith("framework."):
        with suppress(ImportError):
            import_module(module)
    return imported(target)


def _at(raw: Any, path: Sequence[str]) -> Any:
    """Return the value at *path* of *raw*, or None."""
    for key in path:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def _composed(words: Sequence[str]) -> Any:
    """Return the config of *words* as Hydra merges it, or of none of them where they make no config."""
    plain = [word for word in words if "=" in word and not word.startswith("-")]
    for attempt in (plain, [word for word in plain if word.lstrip("+").partition("=")[0] in GROUPS], []):
        try:
            return composed(attempt).config
        except FrameworkError:
            continue
    return {}
