"""Hydra plugins: ``recipes/`` as the group ``recipe``, and the search path of options.

``./conf`` and ``./recipes`` of the working folder come before the framework's own, so that a team's
repository holds only its own files. A recipe is always merged at the root of the config. Plain Hydra would
silently put it under ``recipe:`` where the package line is missing.
"""

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from framework.config.options import GROUP, recipe_file, recipe_names
from framework.config.read_recipe import lists_recipes, read_recipe
from framework.config.yaml_source import read_source
from framework.core.paths import SHARE


class RecipeSource(ConfigSource):
    """``recipes://DIR`` maps ``recipe/x`` to ``DIR/x.yaml``, always in the package ``_global_``."""

    @staticmethod
    def scheme() -> str:
        """Return the URL scheme of this source."""
        return "recipes"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read one recipe without its faults, which ``Composition.faults`` returns once it is composed."""
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
        """Return recipes and folders below *config_path*, for ``glob``; see ``every_recipe``."""
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else [GROUP]
        if not self.is_group(config_path) or not self._is_globbed():
            return []
        folder = Path(self.path, config_path.partition("/")[2])
        # The recipes of a list are files too; `glob(*)` would build them twice.
        files = [file.stem for file in folder.glob("*.yaml") if not lists_recipes(file)]
        folders = [sub.name for sub in folder.iterdir() if sub.is_dir() and next(sub.rglob("*.yaml"), None)]
        by_type = {ObjectType.CONFIG: files, ObjectType.GROUP: folders}
        return sorted(by_type.get(results_filter, files + folders) if results_filter else files + folders)

    def _is_globbed(self) -> bool:
        """Tell whether ``glob`` finds this folder's recipes: those of the framework only without own ones."""
        own = Path.cwd() / "recipes"
        return Path(self.path).resolve() == own.resolve() or not recipe_names(own)


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
