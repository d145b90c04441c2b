"""``run diff``: what the working folder changes against a base branch, for a terminal or a pull request."""

from collections.abc import Sequence
from pathlib import Path

from framework.core.errors import ConfigError, FrameworkError, GitError
from framework.core.git import Repository
from framework.core.release import LOCK
from framework.gitops.arguments import choice, parse_arguments
from framework.gitops.changed import changed_recipes
from framework.gitops.diff_format import as_markdown, as_text
from framework.gitops.differences import Difference, compared, manifest_diff
from framework.gitops.remote_compose import ComposeRequest, ComposeResult, compose_here, compose_in
from framework.gitops.worktree import temporary_worktree

_OWN = ("base", "format")


def diff(words: Sequence[str]) -> None:
    """Print how config, plan and manifests of recipes differ from the base.

    Without ``recipe=`` it covers every recipe that changed since the base.

    Raises:
        FrameworkError: there is no base, or a recipe cannot be planned; the latter is printed too.
    """
    own = [word for word in words if word.partition("=")[0] in _OWN]
    overrides = [word for word in words if word not in own]
    arguments = parse_arguments("diff", own, (), {"base": "", "format": "text"})
    form = choice("format", arguments["format"], ("text", "markdown"))
    repository = Repository.around(Path())
    name, commit = _base(repository, arguments["base"])
    named = [word.partition("=")[2] for word in overrides if word.lstrip("+").startswith("recipe=")]
    if named and (len(named) > 1 or not all(named[0].split(","))):
        raise ConfigError("command line 'recipe=': name recipes once, separated by commas: +recipe=a,b")
    rest = tuple(word for word in overrides if not word.lstrip("+").startswith("recipe="))
    recipes = named[0].split(",") if named else changed_recipes(commit)
    with temporary_worktree(repository, commit) as tree:
        differences = _differences(tree.folder, recipes, rest) if recipes else []
    title = f"{name} at {commit[:12]}"
    print(as_markdown(title, differences) if form == "markdown" else as_text(title, differences))
    if failed := [difference for difference in differences if difference.error]:
        failure = FrameworkError("\n".join(f"+recipe={broken.recipe}: {broken.error}" for broken in failed))
        failure.exit_code = failed[0].exit_code
        raise failure


def _base(repository: Repository, asked: str) -> tuple[str, str]:
    """Return the base's name and its merge base with HEAD.

    Raises:
        GitError: there is no such branch.
    """
    names = [asked] if asked else ["origin/HEAD", "origin/main", "main", "master"]
    for name in names:
        commit = repository.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if commit:
            return name, repository.ask("merge-base", "HEAD", commit) or commit
    known = repository.run("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes").split()
    raise GitError(f"base={asked or names[1]}: no such branch; there are {', '.join(known) or 'none'}")


def _differences(base: Path, recipes: Sequence[str], rest: tuple[str, ...]) -> list[Difference]:
    """Compose every recipe in the tree *base* and here, and compare the results.

    Args:
        base: the folder of the base's worktree.
        recipes: the recipes.
        rest: the other overrides, for all of them.
    """
    requests = [ComposeRequest((f"+recipe={recipe}", *rest), with_plan=True) for recipe in recipes]
    old, new = compose_in(base, requests), [compose_here(request) for request in requests]
    manifests = _manifest_diffs(base, requests, old, new)
    pairs = zip(recipes, old, new, manifests, strict=True)
    return [compared(recipe, before, after, diffs) for recipe, before, after, diffs in pairs]


def _manifest_diffs(
    base: Path,
    requests: Sequence[ComposeRequest],
    old: Sequence[ComposeResult],
    new: Sequence[ComposeResult],
) -> list[dict[str, str]]:
    """Return for each recipe a manifest diff by ``<environment>/<release>``, for every place with a lock."""
    wanted: list[tuple[int, str]] = []
    requests_old, requests_new = [], []
    for index, after in enumerate(new):
        for folder in _release_folders(base, after):
            wanted.append((index, folder))
            arguments = _in_environment(requests[index].arguments, folder.split("/")[-2])
            requests_old.append(ComposeRequest(arguments, _text(base / folder / LOCK)))
            requests_new.append(ComposeRequest(arguments, _text(Path() / folder / LOCK)))
    diffs: list[dict[str, str]] = [{} for _ in old]
    rendered_old = compose_in(base, requests_old) if requests_old else []
    for (index, folder), before, request in zip(wanted, rendered_old, requests_new, strict=True):
        after = compose_here(request)
        label = folder.partition("/")[2]
        diffs[index][label] = after.error or manifest_diff(before.files or {}, after.files or {})
    return diffs


def _release_folders(base: Path, new: ComposeResult) -> list[str]:
    """Return the release's folders in either tree, as ``environments/<environment>/<release>``."""
    if new.error:
        return []
    root, name = new.config["environments"], new.config["name"]
    locks = [lock for tree in (base, Path()) for lock in (tree / root).glob(f"*/{name}/{LOCK}")]
    return sorted({f"{root}/{lock.parts[-3]}/{name}" for lock in locks})


def _in_environment(arguments: tuple[str, ...], environment: str) -> tuple[str, ...]:
    kept = [word for word in arguments if not word.startswith("environment=")]
    return (*kept, f"environment={environment}")


def _text(lock: Path) -> str | None:
    return lock.read_text(encoding="utf-8", errors="replace") if lock.is_file() else None
