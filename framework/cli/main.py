"""The commands ``run`` and ``gitune``: an optional verb, then Hydra's own command line.

Imports nothing but Hydra until a config is composed, so that ``--help`` and completion stay fast.
``framework.run.runner`` and ``framework.gitops`` do the work.
"""

import contextlib
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from framework.cli.application import (
    MULTIRUN,
    TOGETHER,
    is_own,
    leave_quietly,
    report,
    start_hydra,
    sweep_in_process,
)
from framework.cli.complete import FLAGS
from framework.cli.help import help_text, verb_help
from framework.cli.verbs import NAMES, VERBS
from framework.cli.version import version_text
from framework.config.options import GROUP, add_folders, every_recipe
from framework.config.read_recipe import listed
from framework.core.errors import ConfigError, FrameworkError
from framework.core.signals import handle_signals
from framework.core.streams import print_any_text
from framework.core.suggest import nearest

GIT_VERBS = ("propose", "promote", "rollback", "status", "verify", "log", "diff", "argocd", "changed")
LOG_VERBS = ("drift", "compare-live")
_HELP = {"-h", "--help"}


def main() -> None:
    """Run the command line; the exit code is 0, 1 (run), 2 (config) or 128 + signal."""
    print_any_text()
    words = sys.argv[1:]
    program = Path(sys.argv[0]).name
    typed = shlex.join([program if program in ("run", "gitune") else "run", *words])
    verb = words.pop(0) if words and words[0] in NAMES else "run"
    _stop_on_signals(typed)
    try:
        _require_working_folder()
        if (not words and verb == "run") or _HELP & {*words}:
            sys.stdout.write(_help(verb))
        elif "--version" in words:
            print(version_text())
        else:
            _dispatch(verb, words, typed)
    except FrameworkError as error:
        sys.exit(report(error))
    except BrokenPipeError:
        leave_quietly()


def _dispatch(verb: str, words: list[str], typed: str) -> None:
    """Hand the command to Git's verbs, to one composed config, or to Hydra's application."""
    if verb not in (*GIT_VERBS, *LOG_VERBS) or verb == "diff":  # the others check their own words
        _refuse_stray_words(words)
    if verb in GIT_VERBS and not FLAGS & {*words}:
        from framework.gitops.dispatch import perform as perform_git

        perform_git(verb, words)
        return
    if verb in LOG_VERBS and not FLAGS & {*words}:
        from framework.learning.dispatch import perform as perform_log

        add_folders(words)
        perform_log(verb, words)
        return
    add_folders(words)
    words = _each_recipe(words)
    if verb in TOGETHER and not MULTIRUN & {*words}:
        words.append("--multirun")
    if verb == "schema":
        sys.stdout.write(_schema(words))
    elif verb != "run" and all(is_own(word) or word in MULTIRUN for word in words):
        _perform_in_process(verb, words, typed)
    else:
        with _hydra_folders(verb, words) as folders:
            start_hydra(verb, [*folders, *words], typed)


def _require_working_folder() -> None:
    """Refuse a working folder that was deleted under a shell, before anything asks for it.

    Raises:
        ConfigError: it does not exist.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ConfigError(
            "the working folder no longer exists; change into one that does with `cd`"
        ) from None


def _perform_in_process(verb: str, words: Sequence[str], typed: str) -> None:
    """Perform a verb that builds nothing for one config, or for each config of a sweep."""
    if MULTIRUN & {*words}:
        sweep_in_process(verb, [word for word in words if word not in MULTIRUN], typed)
        return
    from framework.config.compose_config import composed
    from framework.run.runner import perform

    perform(verb, composed(words), typed)


def _help(verb: str) -> str:
    described = [known for known in VERBS if known.name == verb]
    return verb_help(described[0]) if described else help_text()


def _stop_on_signals(typed: str) -> None:
    """End at once on SIGINT and SIGTERM while no worker or server runs; those install handlers of their own.

    Nothing is half-written then, and a library's cleanup could swallow an exception.
    """

    def stop(number: int) -> None:
        name = signal.Signals(number).name
        os.write(2, f"Stopped by {name}. Resume with the same command:\n  {typed}\n".encode())
        os._exit(128 + number)

    handle_signals(stop)


def _each_recipe(words: Sequence[str]) -> list[str]:
    """Replace a file that lists recipes, or a glob, by the recipes, which run one after the other.

    Raises:
        ConfigError: a glob matches no recipe.
    """
    found = []
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        names = value.split(",") if key == GROUP else []
        inner = [each for name in names for each in (listed(name) or [name])]
        if key == GROUP and "glob(" in value:
            inner = _globbed(word) or names
        if inner != names:
            word = f"+{GROUP}={','.join(inner)}"
            found += [] if MULTIRUN & {*words} else ["--multirun"]
        found.append(word)
    return found


def _globbed(word: str) -> list[str]:
    """Return the recipes that the glob of *word* matches; none if Hydra must say what is wrong with it.

    Hydra's own glob finds nothing in folders, and is silent if it finds nothing.

    Raises:
        ConfigError: it matches no recipe.
    """
    from hydra.core.override_parser.types import Glob, Override
    from hydra.errors import HydraException

    from framework.config.merge_order import parsed

    try:
        override: Override = parsed(word)
    except HydraException:
        return []
    value = override.value()
    choices: Sequence[Any] = getattr(value, "list", [value])
    recipes = [name for name in every_recipe() if not listed(name)]
    found: list[str] = []
    for choice in choices:
        names = listed(str(choice)) or [str(choice)]
        if isinstance(choice, Glob):
            excluded = {name for name in recipes if any(_matches(name, each) for each in choice.exclude)}
            names = [name for name in recipes if any(_matches(name, each) for each in choice.include)]
            names = [name for name in names if name not in excluded]
            if not names:
                known = ", ".join(recipes[:8]) + (", …" if len(recipes) > 8 else "")
                raise ConfigError(
                    f"command line '{word}': the glob matches no recipe; there are {known or 'none'}"
                )
        found += names
    return list(dict.fromkeys(found))


def _matches(name: str, pattern: str) -> bool:
    """Tell whether a recipe's *name* matches; only ``**`` also matches the slashes of folders."""
    within = "**" in pattern or name.count("/") == pattern.count("/")
    return within and fnmatchcase(name, pattern)


def _refuse_stray_words(words: Sequence[str]) -> None:
    """Refuse a word that is neither a flag nor an override, and a verb that is not the first word."""
    for before, word in zip(["", *words], words, strict=False):
        if "=" in word or word.startswith(("-", "~")):
            continue
        if word in NAMES and not before.startswith("-"):
            raise ConfigError(f"command line '{word}': the verb comes first: run {word} …")
        if not before:
            guess = nearest(word, NAMES)
            hint = f"did you mean 'run {guess}'?" if guess else f"verbs are: {', '.join(NAMES)}"
            raise ConfigError(f"command line '{word}': neither a verb nor key=value; {hint}")


@contextlib.contextmanager
def _hydra_folders(verb: str, words: Sequence[str]) -> Iterator[list[str]]:
    """Yield overrides that keep Hydra from writing into the working folder if nothing is built.

    Hydra always creates its run folder, so that is the working folder itself. A multirun always writes
    ``multirun.yaml``, so that goes to a temporary folder.
    """
    if verb == "run" or FLAGS & {*words}:
        yield []
    elif MULTIRUN & {*words}:
        with tempfile.TemporaryDirectory(prefix="gitune-") as folder:
            yield ["hydra.output_subdir=null", f"hydra.sweep.dir='{folder}'", "hydra.sweep.subdir=."]
    else:
        yield ["hydra.output_subdir=null", "hydra.run.dir=."]


def _schema(words: Sequence[str]) -> str:
    from framework.config.jsonschema import schema_text

    if words:
        raise ConfigError(f"command line '{words[0]}': `run schema` takes no overrides")
    return schema_text()


if __name__ == "__main__":
    main()
