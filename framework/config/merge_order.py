"""Which files make a config, in merge order: Hydra's defaults list over files that are parsed once.

Hydra reads every file again for each config. Choices of ``hydra/…`` are left out: they write no key of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra._internal import defaults_list as hydra_defaults
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf

from framework.config.options import GROUP, is_group, option_file, options
from framework.config.read_recipe import read_recipe
from framework.config.yaml_source import Fault, read_source

ROOT = "config"
"""The file that a config begins with, ``conf/config.yaml``."""


class NotPlainError(Exception):
    """Only Hydra itself can compose this, or tell why it cannot."""


@dataclass(frozen=True)
class ConfigFile:
    """One file as Hydra's defaults list needs it."""

    path: Path
    content: dict[str, Any]
    """Its keys without ``defaults``; shared, so copy what you change."""
    package: str | None
    """Of its ``# @package`` line."""
    defaults: tuple[Any, ...]
    """Its ``defaults`` as plain data."""
    chooses_hydra: bool
    """Whether they choose options of ``hydra/…`` too."""
    faults: tuple[Fault, ...]


@dataclass
class MergeOrder:
    """The files of one config, and what its words choose."""

    files: list[tuple[tuple[str, ...], ConfigFile]]
    """Each file with the place that it is merged at, such as ``("phases", "task", "data")``."""
    choices: dict[str, str | None]
    """The chosen option of each group; for a list of options, there is none."""
    overrides: list[Override]
    """The overrides that choose no option."""
    root: ConfigFile
    """``conf/config.yaml``."""


def merge_order(words: Sequence[str]) -> MergeOrder:
    """Return the files that ``conf/config.yaml`` and *words*, in Hydra's form, are merged from.

    Raises:
        OSError: a file cannot be read.
        HydraException, ValueError: the choices contradict each other, or name no option.
        NotPlainError: a word is a sweep, or is about Hydra itself.
    """
    overrides = [*map(parsed, words)]
    for override in overrides:
        if override.is_sweep_override() or override.is_hydra_override():
            raise NotPlainError(override.input_line)
    repository = _Repository()
    found = hydra_defaults.create_defaults_list(
        repository, ROOT, overrides, prepend_hydra=False, skip_missing=False
    )
    files = []
    for default in found.defaults:
        package = tuple(filter(None, (default.package or "").split(".")))
        if default.config_path and (file := repository.file(default.config_path)):
            files.append((package, file))
    root = repository.file(ROOT)
    assert root is not None
    return MergeOrder(files, found.overrides.known_choices, found.config_overrides, root)


@lru_cache(maxsize=4096)
def parsed(word: str) -> Override:
    """Return *word* as Hydra's grammar reads it.

    Raises:
        HydraException: it cannot.
    """
    return OverridesParser.create().parse_override(word)


@dataclass
class _Repository(IConfigRepository):
    """The files of the working folder and of the framework, each looked up once."""

    _files: dict[str, ConfigFile | None] = field(default_factory=dict)
    _groups: dict[str, bool] = field(default_factory=dict)

    def file(self, config_path: str) -> ConfigFile | None:
        if config_path not in self._files:
            self._files[config_path] = _config_file(config_path)
        return self._files[config_path]

    def load_config(self, config_path: str) -> ConfigResult | None:
        file = self.file(config_path)
        if file is None:
            return None
        header = {"package": file.package}
        entries = [*map(_input_default, file.defaults)]
        # The content would only be asked whether there is any, for a warning.
        return ConfigResult("", config_path, _NO_CONTENT, header, defaults_list=entries)

    def config_exists(self, config_path: str) -> bool:
        return self.file(config_path) is not None

    def group_exists(self, config_path: str) -> bool:
        if config_path not in self._groups:
            self._groups[config_path] = is_group(config_path)
        return self._groups[config_path]

    def get_group_options(self, group_name: str, results_filter: Any = None) -> list[str]:
        return options(group_name)

    def get_sources(self) -> list[ConfigSource]:
        return []

    def get_schema_source(self) -> ConfigSource:
        raise NotPlainError("there is no schema")

    def initialize_sources(self, config_search_path: Any) -> None:
        raise NotPlainError("the search path does not change")


_NO_CONTENT: DictConfig = OmegaConf.create()


def _config_file(config_path: str) -> ConfigFile | None:
    group, _, name = config_path.rpartition("/")
    file = option_file(group, name)
    if file is None:
        return None
    if config_path.partition("/")[0] == GROUP:
        recipe = read_recipe(file, config_path.partition("/")[2].removesuffix(".yaml"))
        return _split(file, recipe.content, "_global_", recipe.faults)
    state = file.stat()
    return _option(file, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=512)
def _option(file: Path, _changed: int, _size: int) -> ConfigFile:
    head = file.read_text(encoding="utf-8", errors="replace")[:512]
    source = read_source(file)
    return _split(file, source.content(), ConfigSource._get_header_dict(head)["package"], source.faults)


def _split(file: Path, content: dict[str, Any], package: str | None, faults: tuple[Fault, ...]) -> ConfigFile:
    entries = content.pop("defaults", [])
    if not isinstance(entries, list):
        raise ValueError(f"{file}: defaults is no list")
    own = [entry for entry in entries if not _is_of_hydra(entry)]
    return ConfigFile(file, content, package, tuple(own), len(own) < len(entries), faults)


def _is_of_hydra(entry: Any) -> bool:
    key = next(iter(entry), "") if isinstance(entry, dict) else entry
    return str(key).rpartition(" ")[2].lstrip("/").startswith("hydra/")


def _input_default(entry: Any) -> InputDefault:
    """Return an entry of ``defaults`` as Hydra holds it."""
    if isinstance(entry, str):
        path, _, package = entry.partition("@")
        return ConfigDefault(path=path, package=package or None)
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(f"{entry} is no entry of defaults")
    ((key, value),) = entry.items()
    *keywords, target = str(key).split(" ")
    group, _, package = target.partition("@")
    if not all(isinstance(name, str) for name in ([] if value is None else _listed(value))):
        raise ValueError(f"{entry} names no option")
    return GroupDefault(
        group=group,
        value=value,
        package=package or None,
        optional="optional" in keywords,
        override="override" in keywords,
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_complete_map = hydra_defaults._create_interpolation_map


def _interpolation_map(
    overrides: Overrides, defaults_list: list[InputDefault], self_added: bool
) -> DictConfig:
    """Return what interpolations in a file's ``defaults`` refer to; nothing without any.

    Hydra builds it for each file, in five sixths of the time that the whole merge order takes.
    """
    if any(entry.is_interpolation() for entry in defaults_list):
        return _complete_map(overrides, defaults_list, self_added)
    return _NO_CONTENT


hydra_defaults._create_interpolation_map = _interpolation_map
