"""The command ``run``: an optional verb, then Hydra's own command line.

It imports nothing but Hydra until the config is composed, so that ``--help`` and completion are as
quick as any Hydra program's. What a verb does, ``framework.run.runner`` knows.
"""

import contextlib
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework.cli.help import help_text
from framework.config.composition import as_addition, composition_error, options
from framework.config.recipes import GROUP, listed, register
from framework.core.errors import ConfigError, FrameworkError
from framework.core.paths import SHARE
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from framework.run.runner import Call

GIT_VERBS = ("propose", "promote", "rollback", "status", "diff", "argocd", "changed")
VERBS = ("plan", "render", "serve", "report", "compare", *GIT_VERBS, "schema", "pin")
_HELP = {"-h", "--help"}
_COMPLETION = {"-sc", "--shell-completion", "--shell_completion"}
_MULTIRUN = {"-m", "--multirun"}
_EVERY = "glob(**)"
"""What stands for all recipes, those in folders too, which Hydra's ``glob(*)`` leaves out."""


def main() -> None:
    """Run the command line; the exit code is 0, 1 (run), 2 (config) or 128 + signal."""
    words = sys.argv[1:]
    typed = shlex.join(["run", *words])
    verb = words.pop(0) if words and words[0] in VERBS else "run"
    _stop_on_signals(typed)
    try:
        if verb not in GIT_VERBS or verb == "diff":  # the others know their own words
            _refuse_stray_words(words)
        if verb in GIT_VERBS and not (_HELP | _COMPLETION) & {*words}:
            from framework.gitops.verbs import perform as perform_git

            perform_git(verb, words)
            return
        words = _each_recipe(words)
        if verb == "compare" and not _MULTIRUN & {*words}:
            words.append("--multirun")
        if _HELP & {*words}:
            sys.stdout.write(help_text())
        elif verb == "schema":
            sys.stdout.write(_schema(words))
        elif verb != "run" and all("=" in word and not word.startswith("-") for word in words):
            from framework.config.compose_config import composed
            from framework.run.runner import perform

            perform(verb, composed(words), typed)
        else:
            with _hydra_folders(verb, words) as folders:
                _start_hydra(verb, [*folders, *words], typed)
    except FrameworkError as error:
        sys.exit(_report(error))
    except BrokenPipeError:
        _leave_quietly()


def _leave_quietly() -> NoReturn:
    """End as a program does whose reader, such as ``head``, has gone: nobody is left to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _stop_on_signals(typed: str) -> None:
    """Answer SIGINT and SIGTERM before the worker starts and after it has ended.

    Nothing is half-written then, and an exception could be lost in a library's clean-up, so the process
    ends at once. While the worker or the server runs, they answer.
    """

    def stop(number: int, frame: object) -> None:
        name = signal.Signals(number).name
        os.write(2, f"Stopped by {name}. The same command goes on from here:\n  {typed}\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _start_hydra(verb: str, words: Sequence[str], typed: str) -> None:
    """Hand over to Hydra, which composes the config (or several) and calls back."""
    register()
    # Hydra's own reports end the process with 1 and hide ours; with this it raises instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    failures: list[int] = []
    compared: list[Call] = []
    composing = True

    @hydra.main(version_base="1.3", config_path=str(SHARE / "conf"), config_name="config")
    def application(composed: DictConfig) -> None:
        from framework.run.runner import called, perform

        nonlocal composing
        composing = False
        if HydraConfig.get().mode == RunMode.MULTIRUN and verb != "compare":
            from framework.config.provenance import typed_overrides

            print(f"== {' '.join(text.lstrip('+') for text in typed_overrides())} ==", flush=True)
        # Raised through Hydra, an error would be printed twice and would end a sweep at its first job.
        try:
            if verb == "compare":
                compared.append(called(composed, typed))
            else:
                perform(verb, composed, typed)
        except FrameworkError as error:
            failures.append(_report(error))
            if error.ends_sweep:
                sys.exit(error.exit_code)
        except BrokenPipeError:
            _leave_quietly()
        composing = True

    if _COMPLETION & {*words}:
        _complete_verb()
    else:
        words = [as_addition(word) for word in words]
    # argparse takes overrides in one row only; here a flag may stand anywhere between them.
    sys.argv[1:] = sorted(words, key=lambda word: "=" in word and not word.startswith("-"))
    try:
        application()
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        if not composing:
            raise
        raise composition_error(error, words) from None
    except OSError as error:
        if not composing or isinstance(error, BrokenPipeError):
            raise
        raise FrameworkError(f"{error.filename}: cannot be used: {error.strerror}") from None
    if failures:
        sys.exit(max(failures))
    if compared:
        from framework.run.runner import compare

        compare(compared)


def _each_recipe(words: Sequence[str]) -> list[str]:
    """Put the recipes that a file lists, or all of them, in its place; they are done one after the other."""
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
    """Refuse what is neither a flag nor an override, and a verb that does not stand first."""
    for before, word in zip(["", *words], words, strict=False):
        if "=" in word or word.startswith(("-", "~")):
            continue
        if word in VERBS and not before.startswith("-"):
            raise ConfigError(f"command line '{word}': the verb comes first: run {word} …")
        if not before:
            guess = nearest(word, VERBS)
            hint = f"did you mean 'run {guess}'?" if guess else f"verbs are: {', '.join(VERBS)}"
            raise ConfigError(f"command line '{word}': neither a verb nor key=value; {hint}")


@contextlib.contextmanager
def _hydra_folders(verb: str, words: Sequence[str]) -> Iterator[list[str]]:
    """Yield overrides that keep Hydra from writing into the working folder where nothing is built.

    Hydra always makes its run folder (here the one that is there already) and a multirun always writes
    ``multirun.yaml``, which therefore goes to a folder that ends with the command.
    """
    if verb == "run" or _COMPLETION & {*words}:
        yield []
    elif _MULTIRUN & {*words}:
        with tempfile.TemporaryDirectory(prefix="gitune-") as folder:
            yield ["hydra.output_subdir=null", f"hydra.sweep.dir='{folder}'", "hydra.sweep.subdir=."]
    else:
        yield ["hydra.output_subdir=null", "hydra.run.dir=."]


def _complete_verb() -> None:
    """Complete a verb, and let Hydra complete ``run plan +recipe=…`` as it does ``run +recipe=…``."""
    program, _, rest = os.environ.get("COMP_LINE", "run").partition(" ")
    first, space, others = rest.lstrip().partition(" ")
    if first in VERBS and space:
        os.environ["COMP_LINE"] = f"{program} {others}"
    elif not space:
        print(" ".join(verb for verb in VERBS if verb.startswith(first)))


def _schema(words: Sequence[str]) -> str:
    from framework.config.jsonschema import schema_text

    if words:
        raise ConfigError(f"command line '{words[0]}': `run schema` takes no overrides")
    return schema_text()


def _report(error: FrameworkError) -> int:
    sys.stdout.flush()
    if str(error):  # a worker's own message stands on the terminal already
        print(error, file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
