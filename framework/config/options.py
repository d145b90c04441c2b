"""Which groups, options and recipes there are: the files of the working folder, then the framework's own.

It imports neither Hydra nor YAML, so that help and completion stay fast.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from framework.core.paths import SHARE
from framework.core.suggest import nearest

SEARCHPATH = "hydra.searchpath="
GROUP = "recipe"
"""The group of the recipes: files below ``recipes`` instead of ``conf``."""

_FLAG = re.compile(r"(?:--config-dir|-cd)(?:=(.*))?")
_ITEM = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,\s][^,]*""")
_LONGEST_NAME = 200
"""Bytes of a file's name without its suffix; file systems allow 255 with it."""
_LONGEST_PATH = 2000
_added: list[Path] = []
_search: list[str] = []
"""The items of ``hydra.searchpath`` that stand for ``_added``."""


def add_folders(words: Sequence[str]) -> None:
    """Search the folders of options that ``--config-dir`` and ``hydra.searchpath`` of *words* name, too."""
    _added.clear()
    _search.clear()
    for word, following in pairwise([*words, ""]):
        if flag := _FLAG.fullmatch(word):
            folder = Path(flag[1] or following).absolute()
            _added.append(folder)
            _search.append("'" + str(folder).replace("'", "\\'") + "'")
        elif word.lstrip("+").startswith(SEARCHPATH):
            for item in _ITEM.findall(word.partition("=")[2].strip("[]")):
                _added.extend(_folders_of(item.strip(" '\"")))
                _search.append(item)


def _folders_of(item: str) -> Iterator[Path]:
    """Yield the folder that *item* of ``hydra.searchpath`` names; of a Python package, those of its files."""
    scheme, separator, name = item.partition("://")
    if not separator or scheme == "file":
        yield Path(name or item).absolute()
    elif scheme == "pkg":
        try:
            spec = find_spec(name.replace("/", "."))
        except (ImportError, ValueError):
            return  # Hydra warns of it
        yield from map(Path, (spec and spec.submodule_search_locations) or ())


def added_folders() -> list[Path]:
    """Return the folders of ``add_folders``."""
    return [*_added]


def searchpath() -> list[str]:
    """Return the override with which Hydra finds the folders of ``add_folders``; empty without any."""
    return [f"{SEARCHPATH}[{','.join(_search)}]"] if _search else []


def is_group(key: str) -> bool:
    """Tell whether *key* is a config group of the working folder or of the framework."""
    if not key or is_too_long(key):
        return False
    group, _, folder = key.partition("/")
    if group == GROUP:
        return not folder or any((root / "recipes" / folder).is_dir() for root in _roots())
    return any((folder / key).is_dir() for folder in _folders())


def has_default(group: str) -> bool:
    """Tell whether ``conf/config.yaml`` chooses an option of *group*: it does for the framework's groups."""
    return (SHARE / "conf" / group).is_dir()


def groups() -> list[str]:
    """Return the names of the config groups: the folders below ``conf``."""
    return sorted({group.name for folder in _folders() for group in folder.glob("*/")})


def options(group: str) -> list[str]:
    """Return the names of a group's options, recipes included."""
    first, _, below = group.partition("/")
    if first == GROUP:
        return sorted({name for root in _roots() for name in recipe_names(root / "recipes" / below)})
    return sorted({file.stem for folder in _folders() for file in (folder / group).glob("*.yaml")})


def option_file(group: str, name: str) -> Path | None:
    """Return the file of the option *name* of *group*, or of a recipe; None if there is none."""
    if is_too_long(f"{group}/{name}"):
        return None
    if group.partition("/")[0] == GROUP:
        files = (recipe_file(str(root / "recipes"), f"{group}/{name}") for root in _roots())
        return next((file for file in files if file is not None and file.is_file()), None)
    candidates = (folder / group / f"{name.removesuffix('.yaml')}.yaml" for folder in _folders())
    return next((file for file in candidates if file.is_file()), None)


def has_package(group: str, name: str) -> bool:
    """Tell whether the option's file says where it is placed, so that it may be one of several."""
    file = option_file(group, name) if group.partition("/")[0] != GROUP else None
    return file is None or "@package" in file.read_text(encoding="utf-8", errors="replace")[:512]


def recipe_file(root: str, config_path: str) -> Path | None:
    """Return the file of ``recipe/<name>`` below *root*, or None for another group's path."""
    group, _, name = config_path.partition("/")
    return Path(root, f"{name.removesuffix('.yaml')}.yaml") if group == GROUP and name else None


def recipe_name(file: Path) -> str:
    """Return the name of the recipe in *file*; empty if it is another file."""
    folders = (root.resolve() / "recipes" for root in _roots())
    names = (file.relative_to(folder) for folder in folders if file.is_relative_to(folder))
    return next((name.with_suffix("").as_posix() for name in names), "")


def recipe_names(root: Path) -> list[str]:
    """Return the name of every recipe below *root*, as typed after ``+recipe=``, sorted."""
    return sorted(file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.yaml"))


def every_recipe() -> list[str]:
    """Return the names of the working folder's recipes; of the framework's, if the folder has none."""
    return recipe_names(Path.cwd() / "recipes") or recipe_names(SHARE / "recipes")


def relative(file: Path) -> str:
    """Return the path of *file* relative to the working folder if it is below it, else unchanged."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return str(file)


def advise(name: str, known: Sequence[str]) -> str:
    """Return the advice for an unknown *name*: the closest of the *known* ones, or all of them."""
    guess = nearest(name, known)
    if guess:
        return f"did you mean '{guess}'?"
    return f"choose one of {', '.join(known)}" if known else ""


def is_too_long(path: str) -> bool:
    """Tell whether the file system would refuse even to look for *path*."""
    parts = path.encode("utf-8", "surrogatepass").split(b"/")
    return max(map(len, parts)) > _LONGEST_NAME or sum(map(len, parts)) > _LONGEST_PATH


def _folders() -> list[Path]:
    return [*(root / "conf" for root in _roots()), *_added]


def _roots() -> tuple[Path, Path]:
    return Path.cwd(), SHARE
