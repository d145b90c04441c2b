"""The rules of sources: local files must exist and match their sha256; remote ones should be pinned."""

from collections.abc import Iterator, Mapping
from typing import Any

from framework.config.phases import PHASED
from framework.config.schema import Config
from framework.core.component import Component
from framework.core.errors import SourceError
from framework.core.problem import Problem
from framework.core.source import Source


def source_rules(config: Config) -> list[Problem]:
    """Return every local source that is missing or has another sha256 than the config says."""
    problems: dict[str, Problem] = {}
    for key, source in _sources(config):
        if source.local:
            try:
                source.fingerprint()
            except SourceError as error:
                problems.setdefault(str(error), Problem(key, str(error)))
    return list(problems.values())


def source_cautions(config: Config) -> list[Problem]:
    """Return every source whose bytes may change from one run to the next."""
    sources = {source.url: (key, source) for key, source in _sources(config) if not source.pinned}
    return [
        Problem(
            key,
            f"{source.url} is not pinned, so its bytes may change",
            advice="set its sha256; `run pin model=<option>` does so for a model",
        )
        for key, source in sources.values()
    ]


def _sources(config: Config) -> Iterator[tuple[str, Source]]:
    for key, component in named_components(config):
        if isinstance(component, Source):
            yield key, component


def named_components(config: Config) -> Iterator[tuple[str, Component]]:
    """Yield every component with its dotted key, outer ones first; those of phases below the phases alone."""
    inherited = PHASED if config.phases else ()
    for name in type(config).model_fields:
        if name not in inherited:
            yield from _below(name, getattr(config, name))


def _below(key: str, value: Any) -> Iterator[tuple[str, Component]]:
    if isinstance(value, Component):
        yield key, value
        items = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        items = []
    for name, item in items:
        yield from _below(f"{key}.{name}", item)
