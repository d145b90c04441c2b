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
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework.cli.complete import FLAGS, complete_verb
from framework.cli.help import help_text, verb_help
from framework.cli.verbs import NAMES, VERBS
from framework.cli.version import version_text
from framework.config.composition import as_addition, composition_error, options
from framework.config.recipes import GROUP, listed, register
from framework.core.errors import ConfigError, FrameworkError
from framework.core.paths import SHARE
from framework.core.signals import handle_signals
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from framework.build.launcher import Built
    from framework.run.runner import Call

GIT_VERBS = ("propose", "promote", "rollback", "status", "diff", "argocd", "changed")
_HELP = {"-h", "--help"}
_MULTIRUN = {"-m", "--multirun"}
_EVERY = "glob(**)"
"""Stands for all recipes, those in folders included; Hydra's ``glob(*)`` leaves them out."""


def main() -> None:
    """Run the command line; the exit code is 0, 1 (run), 2 (config) or 128 + signal."""
    words = sys.argv[1:]
    program = Path(sys.argv[0]).name
    typed = shlex.join([program if program in ("run", "gitune") else "run", *words])
    verb = words.pop(0) if words and words[0] in NAMES else "run"
    _stop_on_signals(typed)
    try:
        if (not words and verb == "run") or _HELP & {*words}:
            sys.stdout.write(_help(verb))
        elif "--version" in words:
            print(version_text())
        else:
            _dispatch(verb, words, typed)
    except FrameworkError as error:
        sys.exit(_report(error))
    except BrokenPipeError:
        _leave_quietly()


def _dispatch(verb: str, words: list[str], typed: str) -> None:
    """Hand the command to Git's verbs, to one composed config, or to Hydra's application."""
    if verb not in GIT_VERBS or verb == "diff":  # the others check their own words
        _refuse_stray_words(words)
    if verb in GIT_VERBS and not FLAGS & {*words}:
        from framework.gitops.dispatch import perform as perform_git

        perform_git(verb, words)
        return
    words = _each_recipe(words)
    if verb == "compare" and not _MULTIRUN & {*words}:
        words.append("--multirun")
    if verb == "schema":
        sys.stdout.write(_schema(words))
    elif verb != "run" and all("=" in word and not word.startswith("-") for word in words):
        from framework.config.compose_config import composed
        from framework.run.runner import perform

        perform(verb, composed(words), typed)
    else:
        with _hydra_folders(verb, words) as folders:
            _start_hydra(verb, [*folders, *words], typed)


def _help(verb: str) -> str:
    described = [known for known in VERBS if known.name == verb]
    return verb_help(described[0]) if described else help_text()


def _leave_quietly() -> NoReturn:
    """End silently: the reader of the output, such as ``head``, has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _stop_on_signals(typed: str) -> None:
    """End at once on SIGINT and SIGTERM while no worker or server runs; those install handlers of their own.

    Nothing is half-written then, and a library's cleanup could swallow an exception.
    """

    def stop(number: int) -> None:
        name = signal.Signals(number).name
        os.write(2, f"Stopped by {name}. Resume with the same command:\n  {typed}\n".encode())
        os._exit(128 + number)

    handle_signals(stop)


class _Application:
    """What Hydra calls with each config that it composed."""

    def __init__(self, verb: str, typed: str) -> None:
        self.verb, self.typed = verb, typed
        self.exit_codes: list[int] = []
        """Of the jobs that failed."""
        self.compared: list[Call] = []
        self.composing = True
        """Whether an exception comes from Hydra's composition, so that the config is at fault."""

    def __call__(self, composed: DictConfig) -> "Built | None":
        """Run one job and return its release, for a sweeper that reads results."""
        self.composing = False
        if HydraConfig.get().mode == RunMode.MULTIRUN and self.verb != "compare":
            from framework.config.provenance import typed_overrides

            if words := [text.lstrip("+") for text in typed_overrides()]:
                print(f"== {' '.join(words)} ==", flush=True)
        built = None
        # Raised through Hydra, an error would be printed twice and would end a sweep at its first job.
        try:
            built = self._perform(composed)
        except FrameworkError as error:
            self.exit_codes.append(_report(error))
            if error.ends_sweep:
                sys.exit(error.exit_code)
        except BrokenPipeError:
            _leave_quietly()
        self.composing = True
        return built

    def _perform(self, composed: DictConfig) -> "Built | None":
        from framework.run.runner import called, perform

        if self.verb == "compare":
            self.compared.append(called(composed, self.typed))
            return None
        return perform(self.verb, composed, self.typed)


def _start_hydra(verb: str, words: Sequence[str], typed: str) -> None:
    """Hand over to Hydra, which composes the config (or several) and calls back."""
    register()
    # Hydra's own reports end the process with 1 and hide ours; with this it raises instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    application = _Application(verb, typed)

    @hydra.main(version_base="1.3", config_path=str(SHARE / "conf"), config_name="config")
    def job(composed: DictConfig) -> "Built | None":
        return application(composed)

    if FLAGS & {*words}:
        complete_verb()
    else:
        words = [as_addition(word) for word in words]
    # argparse accepts overrides in one row only; here a flag may be anywhere between them.
    sys.argv[1:] = sorted(words, key=lambda word: "=" in word and not word.startswith("-"))
    try:
        job()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        if not application.composing:
            raise
        raise composition_error(error, words) from None
    except OSError as error:
        if not application.composing or isinstance(error, BrokenPipeError):
            raise
        raise FrameworkError(f"{error.filename}: cannot be used: {error.strerror}") from None
    if application.exit_codes:
        sys.exit(max(application.exit_codes))
    if application.compared:
        from framework.run.runner import compare

        compare(application.compared)


def _each_recipe(words: Sequence[str]) -> list[str]:
    """Replace a file that lists recipes, or ``glob(**)``, by the recipes, which run one after the other."""
    found = []
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        names = value.split(",") if key == GROUP else []
        inner = [each for name in names for each in (listed(name) or [name])]
        if names == [_EVERY]:
            inner = [name for name in options(GROUP) if not listed(name)]
        if inner != names:
            word = f"+{GROUP}={','.join(inner)}"
            found += [] if _MULTIRUN & {*words} else ["--multirun"]
        found.append(word)
    return found


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
    elif _MULTIRUN & {*words}:
        with tempfile.TemporaryDirectory(prefix="gitune-") as folder:
            yield ["hydra.output_subdir=null", f"hydra.sweep.dir='{folder}'", "hydra.sweep.subdir=."]
    else:
        yield ["hydra.output_subdir=null", "hydra.run.dir=."]


def _schema(words: Sequence[str]) -> str:
    from framework.config.jsonschema import schema_text

    if words:
        raise ConfigError(f"command line '{words[0]}': `run schema` takes no overrides")
    return schema_text()


def _report(error: FrameworkError) -> int:
    sys.stdout.flush()
    if str(error):  # a worker has already printed its own message
        print(error, file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
