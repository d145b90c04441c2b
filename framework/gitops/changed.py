"""Which recipes a range of commits changed: those that a merge trains, and a pull request shows.

A recipe is what its file says, with the options that it chooses and the rows that they name. It knows
nothing of plans: that an equal step is not built twice, the store sees to.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from framework.config.recipes import GROUP, listed, recipe_names, relative
from framework.core.errors import FrameworkError, GitError
from framework.core.git import Repository, said
from framework.core.release import LOCK, Release
from framework.gitops.arguments import read

_ENVIRONMENTS = Path("environments")


def changed(words: Sequence[str]) -> None:
    """Print the names of ``changed_recipes`` as JSON, which a workflow's matrix takes.

    Raises:
        FrameworkError: a word is wrong, or Git cannot compare.
    """
    given = read("changed", words, ("base",), {})
    print(json.dumps(changed_recipes(given["base"])))


def changed_recipes(base: str) -> list[str]:
    """Return the recipes of the working folder that commits since *base* changed.

    A recipe whose own file, or rows below ``recipes/``, changed is one of them; where an option did, only
    recipes that have a release already are: an option's new default trains nothing for the first time.
    Of a recipe that cannot be read, its own file alone counts; who plans it says what is wrong.

    Args:
        base: a commit, branch or tag; compared is what HEAD has beyond what both have.

    Raises:
        GitError: Git cannot compare the two.
        ReleaseError: a lock was edited.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from framework.config.recipes import register
    from framework.core.paths import SHARE

    touched = _touched(base)
    released = {Release.read(lock).recipe for lock in _ENVIRONMENTS.glob(f"*/*/{LOCK}")}
    names = [name for name in recipe_names(Path("recipes")) if not listed(name)]
    register()
    GlobalHydra.instance().clear()
    found = []
    with initialize_config_dir(str(SHARE / "conf"), version_base="1.3", job_name="gitune"):
        for name in names:
            files, text = _merged(name)
            own = [file for file in touched if file.startswith("recipes/")]
            if any(file in files or (not file.endswith(".yaml") and file in text) for file in own) or (
                name in released and touched & files
            ):
                found.append(name)
    return found


def _merged(recipe: str) -> tuple[set[str], str]:
    """Return the files that make the recipe, relative to the working folder, and their text."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from framework.config.provenance import merged_files

    try:
        files = [file for _, file in merged_files("config", [f"+{GROUP}={recipe}"])]
        text = "".join(file.read_text(encoding="utf-8") for file in files)
    except (FrameworkError, HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError):
        return {f"recipes/{recipe}.yaml"}, ""
    return {relative(file) for file in files}, text


def _touched(base: str) -> set[str]:
    """Return the files that differ, relative to the working folder."""
    repository = Repository.around(Path())
    done = repository.attempt("diff", "--name-only", "--relative", "-z", f"{base}...HEAD", "--")
    if done.returncode:
        raise GitError(
            f"base={base}: Git cannot compare it with HEAD ({said(done.stderr)}); fetch it, and the history "
            "that both share, with `git fetch --unshallow`"
        )
    return set(filter(None, done.stdout.split("\0")))
