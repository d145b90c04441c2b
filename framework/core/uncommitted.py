"""Which files differ from the last commit, also where Git does not look by itself.

``git status`` is silent about files in a nested repository, and believes the flags ``assume-unchanged`` and
``skip-worktree``. A submodule counts as the commit that is recorded for it.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from framework.core.git import Repository

_SUBMODULE = "160000"
"""The mode of a submodule in a tree."""


def uncommitted(repository: Repository, files: Iterable[Path], folders: Iterable[Path]) -> list[str]:
    """Return what differs from the last commit, relative to the repository's root, and files outside of it.

    Args:
        repository: the checkout; without a commit, everything differs.
        files: files, and folders of data, of which the commit must have every file, ignored or not.
        folders: folders of code, of which ignored files do not count.

    Raises:
        GitError: Git does not answer.
    """
    root = Path(repository.run("rev-parse", "--show-toplevel").rstrip("\n"))
    paths = {path for file in files for path in _places(file)}
    outside = sorted(str(path) for path in paths if not path.is_relative_to(root))
    inside = [path for path in paths if path.is_relative_to(root)]
    code = [path for folder in folders for path in _places(folder) if path.is_relative_to(root)]
    found = _changed(root, inside, is_data=True) | _changed(root, code, is_data=False)
    return [*sorted(found), *outside]


def _places(path: Path) -> set[Path]:
    """Return the absolute path, and what it links to: of a link, the commit has only the name."""
    return {path.parent.resolve() / path.name, path.resolve()}


def _changed(root: Path, paths: Iterable[Path], is_data: bool) -> set[str]:
    """Return what of *paths* the last commit of the repository in *root* does not have, relative to it.

    Args:
        root: the top folder of a checkout.
        paths: files and folders below it.
        is_data: whether ignored files count, and files that a sparse checkout leaves out.
    """
    own: list[Path] = []
    nested: dict[Path, list[Path]] = {}
    for path in paths:
        above = [path, *path.parents]
        inner = [folder for folder in above[: above.index(root)] if (folder / ".git").exists()]
        if inner:  # the outermost; one in it is found from there
            nested.setdefault(inner[-1], []).append(path)
            continue
        own.append(path)
        if path.is_dir():
            for git in path.rglob(".git"):
                nested.setdefault(git.parent, []).append(git.parent)
    found = _changed_here(root, own, is_data) if own else set()
    for folder, parts in nested.items():
        found |= _changed_in(root, folder, parts, is_data)
    return found


def _changed_here(root: Path, paths: Sequence[Path], is_data: bool) -> set[str]:
    """Return what of *paths*, none of which is in a nested repository, is not in the commit of *root*."""
    repository = Repository(root)
    names = sorted({f":(top,literal){path.relative_to(root).as_posix()}" for path in paths})
    ignored = "--ignored=matching" if is_data else "--ignored=no"
    options = ("--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=none", ignored)
    listed = repository.run("status", *options, "--", *names)
    found = {entry[3:] for entry in listed.split("\0") if entry}
    return found | _flagged(repository, root, names, is_data)


def _flagged(repository: Repository, root: Path, names: Sequence[str], is_data: bool) -> set[str]:
    """Return the files that differ from the index although a flag says that they do not."""
    listed = repository.run("ls-files", "-v", "--stage", "-z", "--", *names)
    recorded: dict[str, str] = {}
    for entry in filter(None, listed.split("\0")):
        about, _, name = entry.partition("\t")
        tag, mode, digest, _ = about.split()
        if (tag.islower() or tag == "S") and mode != _SUBMODULE:
            recorded[name] = digest
    missing = {name for name in recorded if not os.path.lexists(root / name)}
    links = {name for name in recorded if (root / name).is_symlink()}
    plain = sorted(name for name in {*recorded} - missing - links if (root / name).is_file())
    digests = repository.run("hash-object", "--", *plain).split() if plain else []
    now = dict(zip(plain, digests, strict=True))
    now |= {
        name: repository.run("hash-object", "--stdin", stdin=str((root / name).readlink())).strip()
        for name in links
    }
    changed = {name for name in {*recorded} - missing if now.get(name) != recorded[name]}
    return changed | (missing if is_data else set())


def _changed_in(root: Path, folder: Path, paths: Sequence[Path], is_data: bool) -> set[str]:
    """Return what of *paths*, below the nested repository *folder*, the commit of *root* does not give."""
    name = folder.relative_to(root).as_posix()
    mode, _, rest = (Repository(root).ask("ls-tree", "HEAD", "--", name) or "").partition(" ")
    recorded = rest.partition("\t")[0].split()[-1:] if mode == _SUBMODULE else []
    if recorded and recorded == [Repository(folder).ask("rev-parse", "HEAD")]:
        return {f"{name}/{part}" for part in _changed(folder, paths, is_data)}
    return {path.relative_to(root).as_posix() for path in paths}
