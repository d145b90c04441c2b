"""What to type after a run or a sweep."""

import shlex
import textwrap
from collections.abc import Sequence

from framework.config.schema import Config
from framework.core.git import push_command
from framework.core.release import NO_RECIPE, Release

_NAMED = 3
"""How many files of a tree with changes are named."""


def next_steps(
    config: Config, release: Release, words: Sequence[str], proposable: bool, changed: Sequence[str]
) -> list[str]:
    """Return the commands that usually follow, and what keeps the release from being proposed.

    Args:
        config: the config that was built.
        release: its release.
        words: the arguments of ``run`` that were typed.
        proposable: whether its lock is new.
        changed: the files that its commit does not have.
    """
    lines = ["Next:", *(f"  {line}" for line in _next_commands(config, words))]
    if not proposable or not release.commit:
        return lines
    if release.given:
        words = [] if config.environments == "environments" else [f"environments={config.environments}"]
        push = push_command(release.full_commit)  # `run propose` refuses what no one else can check
        return [*lines, *([f"  {push}"] if push else []), f"  {shlex.join(['run', 'propose', *words])}"]
    recipe = f"recipes/{release.recipe}.yaml" if release.recipe != NO_RECIPE else "a recipe"
    steps = [f"write {shlex.join(release.overrides)} into {recipe}"] if release.overrides else []
    if release.changed:
        named = ", ".join(changed[:_NAMED]) + (
            f" and {len(changed) - _NAMED} more" if changed[_NAMED:] else ""
        )
        steps.append(f"commit {named}")
    else:
        steps.append("commit it")
    advice = f"To propose this release, {', '.join(steps)} and run again: finished steps are not built again."
    return [*lines, "", _wrap(advice)]


def _next_commands(config: Config, words: Sequence[str]) -> list[str]:
    if "rank" in type(config.tuning).model_fields:
        key, other, swept = "tuning.rank", "16" if getattr(config.tuning, "rank", 0) == 8 else "8", "4,32"
    else:
        key, other, swept = "training.learning_rate", "1e-4", "1e-4,5e-4"
    asked = shlex.join(words)
    rest = shlex.join(word for word in words if word.lstrip("+").partition("=")[0] != key)
    return [
        f"run serve {asked}",
        f"run report {asked}",
        f"run plan {rest} {key}={other}",
        f"run -m {rest} {key}={swept}",
    ]


def not_released(folder: str, jobs: int, commands: Sequence[str]) -> str:
    """Return that *jobs* jobs of a sweep are one release, and the commands that release one of them."""
    reason = (
        f"{folder}/ is unchanged, because {jobs} jobs of this sweep have this name and environment. Release "
        "one of them; its steps are not built again:"
    )
    return "\n".join(["", _wrap(reason), *(f"  {command}" for command in commands)])


def _wrap(text: str) -> str:
    return textwrap.fill(text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
