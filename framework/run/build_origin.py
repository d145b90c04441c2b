"""What a release is built from: the recipe, what the command adds to it, and the commit that has the files.

Recipes, spellings and commits share the steps of the store. So the origin belongs to the call that releases.
It is read before anything is built, since files may change during a training.
"""

import ast
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

import framework
from framework.config.compose_config import composed
from framework.config.composer import emptied
from framework.config.composition import Composition
from framework.config.merge_order import parsed
from framework.config.options import GROUP, added_folders
from framework.config.schema import Config
from framework.core.errors import FrameworkError, GitError
from framework.core.git import Repository
from framework.core.paths import SHARE
from framework.core.release import NO_RECIPE, Release, config_digest, short_key
from framework.core.source import Source
from framework.core.uncommitted import uncommitted
from framework.plan.build import Plan

_FRAMEWORK = Path(framework.__file__).resolve().parent
_SITE = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib", "platstdlib")}
)
"""The folders of Python and of installed packages, which no commit has, also in the working folder."""


@dataclass(frozen=True)
class Origin:
    """What one call builds a release from."""

    commit: str | None
    """The working folder's commit; None without Git."""
    changed: tuple[str, ...]
    """What the commit does not have: files below the repository's root, and others by their whole path."""
    overrides: tuple[str, ...]
    """The overrides without which the config is another one."""
    built_for: str
    """The chosen environment."""
    config_digest: str
    steps: dict[str, str]
    """The keys of the steps before the last, short, by label."""

    def of(self, release: Release) -> Release:
        """Return *release*, as this call built it."""
        return release.model_copy(
            update={
                "built_for": self.built_for,
                "clean": self.commit is not None and not self.changed,
                "commit": self.commit,
                "config_digest": self.config_digest,
                "overrides": self.overrides,
                "steps": self.steps,
            }
        )


def read_origin(composition: Composition, config: Config, plan: Plan) -> Origin:
    """Return what *config*, composed as *composition*, is built from.

    Raises:
        GitError: Git does not answer.
    """
    built_for = str(composition.choices["environment"])
    recipe = str(composition.choices.get(GROUP) or NO_RECIPE)
    commit, changed = _commit(composition, config)
    steps = plan.steps[:-1]
    return Origin(
        commit=commit,
        changed=changed,
        overrides=_effective(composition, recipe_words(recipe, config.name, built_for)),
        built_for=built_for,
        config_digest=config_digest({step.label: step.stage.spec() for step in steps}),
        steps={step.label: short_key(step.key) for step in steps},
    )


def recipe_words(recipe: str, name: str, environment: str) -> tuple[str, ...]:
    """Return the arguments of ``run`` that a release's lock and folder give, without its overrides."""
    chosen = () if recipe == NO_RECIPE else (f"+{GROUP}={recipe}",)
    return (*chosen, f"environment={environment}", f"name={name}")


def own_words(composition: Composition) -> tuple[str, ...]:
    """Return the overrides of *composition* as typed, without the recipe.

    Only a group at another place, such as ``+tuning@phases.x.tuning=lora``, is typed with a plus.
    """
    words = (word for word in composition.words if not word.lstrip("+").startswith(f"{GROUP}="))
    return tuple(_plainly(word.removeprefix("++")) for word in words)


def _plainly(word: str) -> str:
    """Return *word* without the backslashes that Hydra's sweeper adds, unless it means another value then."""
    plain = re.sub(r"\\(.)", r"\1", word)
    if plain == word:
        return word
    try:
        return plain if parsed(plain).value() == parsed(word).value() else word
    except HydraException:
        return word


def _effective(composition: Composition, base: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that change the config of *base*: what the recipe also says, does not count."""
    kept = own_words(composition)
    wanted = _keyed(composition)
    if not kept or _gives(base, wanted):
        return ()
    for number in reversed(range(len(kept))):
        fewer = (*kept[:number], *kept[number + 1 :])
        if _gives([*base, *fewer], wanted):
            kept = fewer
    return kept


def _gives(words: Sequence[str], wanted: dict[str, Any]) -> bool:
    try:
        return _keyed(composed(words)) == wanted
    except FrameworkError:  # an override that others need
        return False


def _keyed(composition: Composition) -> dict[str, Any]:
    """Return the config as ``load`` reads it, without the keys that say where it is built and watched."""
    keyed = Config.field_names(keyed_only=True)
    return {key: value for key, value in emptied(composition).items() if key in keyed}


def _commit(composition: Composition, config: Config) -> tuple[str | None, tuple[str, ...]]:
    """Return the commit of the working folder, and what it does not have of the config's files.

    Installed packages have no changes; a checkout of the framework counts if it is the working folder's own.
    A file that is deleted here would stand before the framework's own of that name, so it is a change.
    Folders that only the command names count, committed or not: the commit does not say to search them.
    """
    repository = Repository(Path())
    try:
        commit = repository.ask("rev-parse", "--verify", "--quiet", "HEAD")
    except GitError:  # Git is not installed
        return None, ()
    if not commit:
        return None, ()
    root = Path(repository.run("rev-parse", "--show-toplevel").rstrip("\n"))
    files = [file.path.absolute() for _, file in composition.files]
    files += [Path.cwd() / file.relative_to(SHARE) for file in files if file.is_relative_to(SHARE)]
    files += [path for component in config.walk() if (path := _local_path(component))]
    if _is_installed(SHARE) or not SHARE.is_relative_to(root):
        files = [file for file in files if not file.is_relative_to(SHARE)]
    code = [folder for folder in (_FRAMEWORK, *_plugins(config, root)) if not _is_installed(folder)]
    added = [folder for folder in added_folders() if any(file.is_relative_to(folder) for file in files)]
    files = [file for file in files if not any(file.is_relative_to(folder) for folder in added)]
    return commit, (*uncommitted(repository, files, code), *map(str, added))


def _is_installed(path: Path) -> bool:
    return any(path.resolve().is_relative_to(folder) for folder in _SITE)


def _local_path(component: object) -> Path | None:
    """Return the path of a local source, unless the config has its sha256."""
    if isinstance(component, Source) and component.local and component.sha256 is None:
        path = component.at_hand()
        return path.absolute() if path else None
    return None


def _plugins(config: Config, root: Path) -> set[Path]:
    """Return the folders of the plugins' packages, or their files, and of what they import below *root*."""
    found: set[Path] = set()
    names = [name.partition(".")[0] for name in config.plugins]
    while names:
        paths = {path for path in _code_of(names.pop()) if path.resolve() != _FRAMEWORK} - found
        new = {path for path in paths if _is_below(path, root) and not _is_installed(path)}
        found |= new
        names += {name for path in new for name in _imported(path)}
    return found


def _is_below(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) or path.resolve().is_relative_to(root)


def _code_of(name: str) -> list[Path]:
    """Return the folders of the package *name*, or the file of the module; none if Python has it built in."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if folders := spec.submodule_search_locations:
        return [Path(folder) for folder in folders]
    return [Path(spec.origin)] if spec.has_location and spec.origin else []


def _imported(code: Path) -> set[str]:
    """Return the first name of every import in a file, or in the files of a folder, wherever it is."""
    names = set()
    for file in code.rglob("*.py") if code.is_dir() else [code]:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError):  # a template, or an extension module
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names
