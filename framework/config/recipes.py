"""Hydra plugins: ``recipes/`` as the group ``recipe``, and the search path of options.

``./conf`` and ``./recipes`` of the working folder come before the framework's own, so that a team's
repository holds only its own files. A recipe is always merged at the root of the config. Plain Hydra would
silently put it under ``recipe:`` where the package line is missing.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from framework.config.bases import extended, reached
from framework.config.defaults import Defaults
from framework.config.options import GROUP, is_group, option_file, recipe_file, recipe_name, relative
from framework.config.provenance import merged_files, typed_overrides
from framework.config.yaml_source import EVERYTHING, Fault, read_source
from framework.core.errors import invalid_config
from framework.core.paths import SHARE
from framework.core.problem import Problem

_LISTS = re.compile(r"^recipes:", re.MULTILINE)


def listed(name: str) -> list[str]:
    """Return the recipes that the file of *name* lists under ``recipes``; none if it is a recipe itself.

    Such a file has no other key. It names recipes that are built, or compared, together.

    Raises:
        ConfigError: it has other keys, or ``recipes`` is not a list of names.
    """
    file = option_file(GROUP, name)
    if file is None or not _lists(file):
        return []
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        return []  # unreadable; composing it as a recipe reports the line
    names = content.get("recipes")
    if set(content) != {"recipes"} or not isinstance(names, list) or not names:
        reason = "must be the only key of its file, and a list of recipes"
        problem = Problem("recipes", reason, advice="set other keys in those recipes or on the command line")
        raise invalid_config([problem], [problem.at(f"{relative(file)}:1")])
    return [str(name) for name in names]


def _lists(file: Path) -> bool:
    return _LISTS.search(file.read_text(encoding="utf-8", errors="replace")) is not None


@dataclass(frozen=True)
class Recipe:
    """One recipe as Hydra gets it: without what cannot be composed."""

    content: dict[str, Any]
    faults: tuple[Fault, ...]
    """Of this file alone."""


def read_recipe(file: Path, name: str) -> Recipe:
    """Return the recipe *name* in *file*.

    Raises:
        OSError: the file cannot be read.
    """
    source = read_source(file)
    content = source.content()
    faults = [*source.faults]
    if not source.root.value and not faults:
        problem = Problem("", "is empty", advice="write its keys, such as name, or delete the file")
        faults.append(Fault(file, 1, problem, EVERYTHING))
    defaults = Defaults(file, name.rpartition("/")[0])
    for key, value in source.root.value:
        if key.value == "defaults":
            defaults.check(value)
            content["defaults"] = defaults.entries
        elif key.value in content and (wrong := _wrong_kind(key.value, value)):
            del content[key.value]  # OmegaConf cannot merge it
            faults.append(Fault(file, key.start_mark.line + 1, wrong, key.value))
    return Recipe(content, (*faults, *defaults.faults))


def _wrong_kind(key: str, value: yaml.Node) -> Problem | None:
    """Return that *key* has a list in place of a mapping, or the reverse."""
    group = is_group(key)
    top = {known.value: node for known, node in read_source(SHARE / "conf" / "config.yaml").root.value}
    wanted = yaml.MappingNode if group else type(top.get(key))
    if wanted is yaml.MappingNode and isinstance(value, yaml.SequenceNode):
        return Problem(key, "should be a mapping, got a list", (f"{key}=<option>",) if group else ())
    if wanted is yaml.SequenceNode and isinstance(value, yaml.MappingNode):
        return Problem(key, "should be a list, got a mapping")
    return None


def recipe_faults(name: str) -> list[Fault]:
    """Return the faults of the recipe *name* and of those that it extends."""
    return [fault for base, file in extended(name).items() for fault in read_recipe(file, base).faults]


def chosen_faults() -> list[Fault]:
    """Return the faults of all files of the config composed last."""
    # Hydra's list of choices lacks lists of options; the words lack interpolations.
    words = (word.lstrip("+").partition("=") for word in typed_overrides())
    choices = [(key, value) for key, _, value in words]
    choices += [(str(key), str(name)) for key, name in HydraConfig.get().runtime.choices.items()]
    if not any(map(_faults, reached((key.partition("@")[0], value) for key, value in choices))):
        return []  # the merge order takes as long as the composition
    files = merged_files(str(HydraConfig.get().job.config_name), typed_overrides())
    faults: list[Fault] = []
    for file, package in {file: package for package, file in reversed(files)}.items():
        within = "" if recipe_name(file) else ".".join(package)
        faults += [_below(fault, within) for fault in _faults(file)]
    return faults


def _faults(file: Path) -> tuple[Fault, ...]:
    name = recipe_name(file)
    return read_recipe(file, name).faults if name else read_source(file).faults


def _below(fault: Fault, package: str) -> Fault:
    """Return *fault* of an option's file with its key as it is in the config."""
    if not package or fault.hides == EVERYTHING:
        return fault
    key = ".".join(filter(None, (package, fault.problem.key)))
    return replace(fault, problem=replace(fault.problem, key=key), hides=key)


class RecipeSource(ConfigSource):
    """``recipes://DIR`` maps ``recipe/x`` to ``DIR/x.yaml``, always in the package ``_global_``."""

    @staticmethod
    def scheme() -> str:
        """Return the URL scheme of this source."""
        return "recipes"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read one recipe without its faults, which ``chosen_faults`` returns once it is composed."""
        name = config_path.partition("/")[2].removesuffix(".yaml")
        recipe = read_recipe(recipe_file(self.path, config_path) or Path(), name)
        node = OmegaConf.create(recipe.content)
        return ConfigResult(self.provider, self.full_path(), node, {"package": "_global_"})

    def available(self) -> bool:
        """Tell whether the folder exists."""
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        """Tell whether *config_path* is ``recipe`` or a folder below it."""
        group, _, folder = config_path.partition("/")
        return config_path == "" or (group == GROUP and Path(self.path, folder).is_dir())

    def is_config(self, config_path: str) -> bool:
        """Tell whether *config_path* is a recipe."""
        file = recipe_file(self.path, config_path)
        return file is not None and file.is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return recipes and folders below *config_path*, for Hydra's help and completion."""
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else [GROUP]
        if not self.is_group(config_path):
            return []
        folder = Path(self.path, config_path.partition("/")[2])
        # The recipes of a list are files too; `glob(*)` would build them twice.
        files = [file.stem for file in folder.glob("*.yaml") if not _lists(file)]
        folders = [sub.name for sub in folder.iterdir() if sub.is_dir() and next(sub.rglob("*.yaml"), None)]
        by_type = {ObjectType.CONFIG: files, ObjectType.GROUP: folders}
        return sorted(by_type.get(results_filter, files + folders) if results_filter else files + folders)


class OptionSource(FileConfigSource):
    """Reads options for Hydra as ``RecipeSource`` reads recipes."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Read one option without its faults."""
        file = Path(self.path, self._normalize_file_name(config_path))
        header = ConfigSource._get_header_dict(file.read_text(encoding="utf-8", errors="replace")[:512])
        node = OmegaConf.create(read_source(file).content())
        return ConfigResult(self.provider, self.full_path(), node, header)


class SearchPath(SearchPathPlugin):
    """Search the working folder first, then the framework's own files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add ``./conf``, ``./recipes`` and the framework's recipes."""
        here = Path.cwd()
        if (here / "conf").is_dir() and (here / "conf").resolve() != (SHARE / "conf").resolve():
            search_path.prepend("working-folder", f"file://{here}/conf", anchor="main")
        for root in dict.fromkeys([here.resolve(), SHARE.resolve()]):
            if not (root / "recipes").is_dir():
                continue  # Hydra would warn
            search_path.append("recipes", f"recipes://{root}/recipes")


def register() -> None:
    """Register the plugins with Hydra; call it before ``hydra.main``."""
    if SearchPath not in Plugins.instance().discover():
        for plugin in (RecipeSource, SearchPath):
            Plugins.instance().register(plugin)
        # Instead of Hydra's own, for every folder: ./conf, the framework's, and those of --config-dir.
        SourcesRegistry.instance().types[OptionSource.scheme()] = OptionSource
