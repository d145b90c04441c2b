"""Hydra plugins: ``recipes/`` as the group ``recipe``, and the search path of options.

``./conf`` and ``./recipes`` of the working folder come before the framework's own, so that a team's
repository holds only its own files. A recipe is always merged at the root of the config. Plain Hydra would
silently put it under ``recipe:`` where the package line is missing.
"""

import re
from pathlib import Path

import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from framework.core.errors import invalid_config
from framework.core.paths import SHARE
from framework.core.problem import Problem

GROUP = "recipe"

_LISTS = re.compile(r"^recipes:", re.MULTILINE)


def recipe_file(root: str, config_path: str) -> Path | None:
    """Return the file of ``recipe/<name>`` below *root*, or None for another group's path."""
    group, _, name = config_path.partition("/")
    return Path(root, f"{name.removesuffix('.yaml')}.yaml") if group == GROUP and name else None


def recipe_names(root: Path) -> list[str]:
    """Return the name of every recipe below *root*, as typed after ``+recipe=``, sorted."""
    return sorted(file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.yaml"))


def listed(name: str) -> list[str]:
    """Return the recipes that the file of *name* lists under ``recipes``; none if it is a recipe itself.

    Such a file has no other key. It names recipes that are built, or compared, together.

    Raises:
        ConfigError: it has other keys, or ``recipes`` is not a list of names.
    """
    files = (recipe_file(str(root / "recipes"), f"{GROUP}/{name}") for root in (Path.cwd(), SHARE))
    file = next((path for path in files if path is not None and path.is_file()), None)
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


def relative(file: Path) -> str:
    """Return the path of *file* relative to the working folder if it is below it, else unchanged."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return str(file)


class RecipeSource(ConfigSource):
    """``recipes://DIR`` maps ``recipe/x`` to ``DIR/x.yaml``, always in the package ``_global_``."""

    @staticmethod
    def scheme() -> str:
        """Return the URL scheme of this source."""
        return "recipes"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read one recipe.

        Raises:
            ConfigError: the file is not a mapping.
        """
        file = recipe_file(self.path, config_path) or Path()
        node = OmegaConf.load(file)
        if not isinstance(node, DictConfig):
            problem = Problem("", "a recipe is a mapping of keys, not a list")
            raise invalid_config([problem], [problem.at(f"{relative(file)}:1")])
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


class SearchPath(SearchPathPlugin):
    """Search the working folder first, then the framework's own files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add ``./conf``, ``./recipes`` and the framework's recipes."""
        here = Path.cwd()
        if (here / "conf").is_dir() and (here / "conf").resolve() != (SHARE / "conf").resolve():
            search_path.prepend("working-folder", f"file://{here}/conf", anchor="main")
        for root in dict.fromkeys([here.resolve(), SHARE.resolve()]):
            search_path.append("recipes", f"recipes://{root}/recipes")


def register() -> None:
    """Register both plugins with Hydra; call it before ``hydra.main``."""
    for plugin in (RecipeSource, SearchPath):
        Plugins.instance().register(plugin)
