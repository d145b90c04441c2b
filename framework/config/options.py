"""Which groups, options and recipes there are: the files of the working folder, then the framework's own.

It imports neither Hydra nor YAML, so that help and completion stay fast.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from framework.core.paths import SHARE
from framework.core.suggest import nearest

GROUP = "recipe"
"""The group of the recipes: files below ``recipes`` instead of ``conf``."""

_FLAG = re.compile(r"(?:--config-dir|-cd)(?:=(.*))?")
_LONGEST_NAME = 200
_added: list[Path] = []


def add_folders(words: Sequence[str]) -> None:
    """Search the folders of options that ``--config-dir`` and ``hydra.searchpath`` of *words* name, too."""
    _added.clear()
    for word, following in pairwise([*words, ""]):
        if flag := _FLAG.fullmatch(word):
            _added.append(Path(flag[1] or following))
        elif word.lstrip("+").startswith("hydra.searchpath="):
            folders = word.partition("=")[2].strip("[]").split(",")
            _added.extend(Path(folder.strip(" '\"").removeprefix("file://")) for folder in folders)


def added_folders() -> list[str]:
    """Return the folders of ``add_folders``."""
    return [str(folder.absolute()) for folder in _added]


def is_group(key: str) -> bool:
    """Tell whether *key* is a config group of the working folder or of the framework."""
    return bool(key) and (key == GROUP or any((folder / key).is_dir() for folder in _folders()))


def has_default(group: str) -> bool:
    """Tell whether ``conf/config.yaml`` chooses an option of *group*: it does for the framework's groups."""
    return (SHARE / "conf" / group).is_dir()


def groups() -> list[str]:
    """Return the names of the config groups: the folders below ``conf``."""
    return sorted({group.name for folder in _folders() for group in folder.glob("*/")})


def options(group: str) -> list[str]:
    """Return the names of a group's options, recipes included."""
    if group == GROUP:
        return sorted({name for root in _roots() for name in recipe_names(root / "recipes")})
    return sorted({file.stem for folder in _folders() for file in (folder / group).glob("*.yaml")})


def option_file(group: str, name: str) -> Path | None:
    """Return the file of the option *name* of *group*, or of a recipe; None if there is none."""
    if len(name) > _LONGEST_NAME:
        return None
    if group == GROUP:
        files = (recipe_file(str(root / "recipes"), f"{GROUP}/{name}") for root in _roots())
        return next((file for file in files if file is not None and file.is_file()), None)
    candidates = (folder / group / f"{name.removesuffix('.yaml')}.yaml" for folder in _folders())
    return next((file for file in candidates if file.is_file()), None)


def has_package(group: str, name: str) -> bool:
    """Tell whether the option's file says where it is placed, so that it may be one of several."""
    file = option_file(group, name)
    return file is None or "@package" in file.read_text(encoding="utf-8", errors="replace")[:512]


def recipe_file(root: str, config_path: str) -> Path | None:
    """Return the file of ``recipe/<name>`` below *root*, or None for another group's path."""
    group, _, name = config_path.partition("/")
    return Path(root, f"{name.removesuffix('.yaml')}.yaml") if group == GROUP and name else None


def recipe_names(root: Path) -> list[str]:
    """Return the name of every recipe below *root*, as typed after ``+recipe=``, sorted."""
    return sorted(file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.yaml"))


def relative(file: Path) -> str:
    """Return the path of *file* relative to the working folder if it is below it, else unchanged."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return str(file)


def advise(name: str, known: Sequence[str]) -> str:
    """Return the advice for an unknown *name*: the closest of the *known* ones, or all of them."""
    guess = nearest(name, known)
    return f"did you mean '{guess}'?" if guess else f"choose one of {', '.join(known)}"


def _folders() -> list[Path]:
    return [*(root / "conf" for root in _roots()), *_added]


def _roots() -> tuple[Path, Path]:
    return Path.cwd(), SHARE
