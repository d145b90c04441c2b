"""``run changed``: the recipes that a range of commits changed, for CI to train or to show in a pull request.

A recipe consists of its own file, the options that it chooses, and the rows that they name. This module
knows nothing about plans: the store avoids building an equal step twice.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from framework.config.compose_config import composed
from framework.config.options import GROUP, recipe_names, relative
from framework.config.read_recipe import listed
from framework.core.errors import FrameworkError, GitError
from framework.core.git import Repository, error_line
from framework.core.release import LOCK, Release
from framework.gitops.arguments import parse_arguments

_ENVIRONMENTS = Path("environments")


def changed(words: Sequence[str]) -> None:
    """Print the names of ``changed_recipes`` as JSON, for a workflow's matrix.

    Raises:
        FrameworkError: an argument is invalid, or Git cannot compare.
    """
    arguments = parse_arguments("changed", words, ("base",), {})
    print(json.dumps(changed_recipes(arguments["base"])))


def changed_recipes(base: str) -> list[str]:
    """Return the recipes of the working folder that commits since *base* changed.

    A recipe counts if its own file or its rows below ``recipes/`` changed. A changed option only counts
    for recipes that already have a release, so a new default does not start a first training. If a recipe
    cannot be read, only its own file counts; planning it will report the error.

    Args:
        base: a commit, branch or tag; HEAD is compared with their merge base.

    Raises:
        GitError: Git cannot compare the two.
        ReleaseError: a lock was edited.
    """
    touched = _touched(base)
    released = {Release.read(lock).recipe for lock in _ENVIRONMENTS.glob(f"*/*/{LOCK}")}
    names = [name for name in recipe_names(Path("recipes")) if not listed(name)]
    recipes = []
    own = [file for file in touched if file.startswith("recipes/")]
    for name in names:
        files, text = _merged(name)
        if any(file in files or (not file.endswith(".yaml") and file in text) for file in own) or (
            name in released and touched & files
        ):
            recipes.append(name)
    return recipes


def _merged(recipe: str) -> tuple[set[str], str]:
    """Return the files that compose the recipe, relative to the working folder, and their text."""
    try:
        files = [file.path for _, file in composed([f"+{GROUP}={recipe}"]).files]
        text = "".join(file.read_text(encoding="utf-8") for file in files)
    except (FrameworkError, ValueError, OSError):
        return {f"recipes/{recipe}.yaml"}, ""
    return {relative(file) for file in files}, text


def _touched(base: str) -> set[str]:
    """Return the files that differ, relative to the working folder."""
    repository = Repository.around(Path())
    done = repository.attempt("diff", "--name-only", "--relative", "-z", f"{base}...HEAD", "--")
    if done.returncode:
        raise GitError(
            f"base={base}: Git cannot compare it with HEAD ({error_line(done.stderr)}); fetch it and the "
            "shared history with `git fetch --unshallow`"
        )
    return set(filter(None, done.stdout.split("\0")))
