"""Hydra plugins: ``recipes/`` as the group ``recipe``, and where options are looked up.

The caller's ``./conf`` and ``./recipes`` come before the framework's own, so that a team's
repository needs to hold nothing but what is its own. A recipe always lands at the root of the
config: plain Hydra would put it under ``recipe:`` in silence where the package line is forgotten.
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

from framework.core.errors import ConfigError
from framework.core.paths import SHARE

GROUP = "recipe"

_LISTS = re.compile(r"^recipes:", re.MULTILINE)


def recipe_file(root: str, config_path: str) -> Path | None:
    """Return the file of ``recipe/<name>`` below *root*, or None for another group's path."""
    group, _, name = config_path.partition("/")
    return Path(root, f"{name.removesuffix('.yaml')}.yaml") if group == GROUP and name else None


def recipe_names(root: Path) -> list[str]:
    """List every recipe below *root*, folders included, as it is written after ``+recipe=``."""
    return sorted(file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.yaml"))


def listed(name: str) -> list[str]:
    """Return the recipes that the file of *name* lists under ``recipes``; nothing if it is one itself.

    Such a file has no other key: it stands for recipes that are built, or compared, together.

    Raises:
        ConfigError: it has other keys, or ``recipes`` is no list of names.
    """
    files = (recipe_file(str(root / "recipes"), f"{GROUP}/{name}") for root in (Path.cwd(), SHARE))
    file = next((found for found in files if found is not None and found.is_file()), None)
    if file is None or not _lists(file):
        return []
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        return []  # no list that could be read; composing it as a recipe says what is wrong where
    names = content.get("recipes")
    if set(content) != {"recipes"} or not isinstance(names, list) or not names:
        raise ConfigError(
            f"Config is invalid:\n  {relative(file)}:1: 'recipes' stands alone in its file, and lists names "
            "of recipes; give other keys in those, or on the command line"
        )
    return [str(each) for each in names]


def _lists(file: Path) -> bool:
    return _LISTS.search(file.read_text(encoding="utf-8", errors="replace")) is not None


def relative(file: Path) -> str:
    """Return *file* as a path below the working folder where it is one."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return str(file)


class RecipeSource(ConfigSource):
    """``recipes://DIR`` maps ``recipe/x`` to ``DIR/x.yaml``, always in the package ``_global_``."""

    @staticmethod
    def scheme() -> str:
        """Return the URL scheme that this source serves."""
        return "recipes"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read one recipe.

        Raises:
            ConfigError: the file holds no mapping.
        """
        file = recipe_file(self.path, config_path) or Path()
        node = OmegaConf.load(file)
        if not isinstance(node, DictConfig):
            place = f"{relative(file)}:1"
            raise ConfigError(f"Config is invalid:\n  {place}: a recipe is a mapping of keys, not a list")
        return ConfigResult(self.provider, self.full_path(), node, {"package": "_global_"})

    def available(self) -> bool:
        """Tell whether the folder is there."""
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
        """List recipes and folders below *config_path*, as Hydra's help and completion ask."""
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else [GROUP]
        if not self.is_group(config_path):
            return []
        folder = Path(self.path, config_path.partition("/")[2])
        # A list's recipes are there themselves; `glob(*)` would build them twice.
        files = [file.stem for file in folder.glob("*.yaml") if not _lists(file)]
        folders = [sub.name for sub in folder.iterdir() if sub.is_dir() and next(sub.rglob("*.yaml"), None)]
        wanted = {ObjectType.CONFIG: files, ObjectType.GROUP: folders}
        return sorted(wanted.get(results_filter, files + folders) if results_filter else files + folders)


class SearchPath(SearchPathPlugin):
    """Look in the working folder first, then in what the framework brings."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add ``./conf``, ``./recipes`` and the framework's recipes."""
        here = Path.cwd()
        if (here / "conf").is_dir() and (here / "conf").resolve() != (SHARE / "conf").resolve():
            search_path.prepend("working-folder", f"file://{here}/conf", anchor="main")
        for root in dict.fromkeys([here.resolve(), SHARE.resolve()]):
            search_path.append("recipes", f"recipes://{root}/recipes")


def register() -> None:
    """Make Hydra know both plugins; call it before ``hydra.main``."""
    for plugin in (RecipeSource, SearchPath):
        Plugins.instance().register(plugin)
