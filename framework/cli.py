"""The command ``run``: an optional verb, then Hydra's own command line.

It imports nothing but Hydra until the config is composed, so that ``--help`` and completion are as
quick as any Hydra program's. What a verb does, ``framework.runner`` knows.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework.config.recipes import GROUP, recipe_names, register
from framework.core.errors import ConfigError, FrameworkError
from framework.core.paths import SHARE
from framework.core.words import nearest

VERBS = ("plan", "render", "serve", "schema", "pin")


def main() -> None:
    """Run the command line; the exit code is 0, 1 (run), 2 (config) or 128 + signal."""
    words = sys.argv[1:]
    typed = shlex.join(["run", *words])
    verb = words.pop(0) if words and words[0] in VERBS else "run"
    try:
        _refuse_unknown_verb(words)
        if verb == "schema":
            sys.stdout.write(_schema())
            return
        _start_hydra(verb, words, typed)
    except FrameworkError as error:
        sys.exit(_report(error))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        sys.exit(_report(ConfigError(_composition_problem(error))))
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _start_hydra(verb: str, words: Sequence[str], typed: str) -> None:
    """Hand over to Hydra, which composes the config (or several) and calls back."""
    register()
    # Hydra's own reports end the process with 1 and hide ours; with this it raises instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    failures: list[int] = []

    @hydra.main(version_base="1.3", config_path=str(SHARE / "conf"), config_name="config")
    def application(composed: DictConfig) -> None:
        from framework.runner import perform

        # Raised through Hydra, an error would be printed twice and would end a sweep at its first job.
        try:
            perform(verb, composed, typed)
        except FrameworkError as error:
            failures.append(_report(error))
            if error.ends_sweep:
                sys.exit(error.exit_code)

    sys.argv[1:] = [_as_addition(word) for word in words]
    application()
    if failures:
        sys.exit(max(failures))


def _as_addition(word: str) -> str:
    """Turn ``a.b=c`` into ``++a.b=c``, so that an unknown key reaches our validation.

    Hydra would refuse a key that the option's YAML does not repeat although the class has it, and
    would stop at the first. Group choices, Hydra's own keys and flags stay as they are.
    """
    if word.startswith(("-", "+", "~", "hydra")) or "=" not in word:
        return word
    key = word.partition("=")[0].partition("@")[0]
    is_group = any((root / "conf" / key).is_dir() for root in (Path.cwd(), SHARE))
    return word if is_group else f"++{word}"


def _refuse_unknown_verb(words: Sequence[str]) -> None:
    if words and not words[0].startswith("-") and "=" not in words[0] and not words[0].startswith("~"):
        guess = nearest(words[0], list(VERBS))
        hint = f"did you mean 'run {guess}'?" if guess else f"verbs are: {', '.join(VERBS)}"
        raise ConfigError(f"command line '{words[0]}': neither a verb nor key=value; {hint}")


def _schema() -> str:
    from framework.config.jsonschema import schema_text

    return schema_text()


def _report(error: FrameworkError) -> int:
    sys.stdout.flush()
    if str(error):  # a worker's own message stands on the terminal already
        print(error, file=sys.stderr)
    return error.exit_code


def _composition_problem(error: Exception) -> str:
    """Say in one sentence what Hydra or OmegaConf could not compose."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == GROUP or error.missing_cfg_file.startswith(f"{GROUP}/"):
            known = sorted({n for r in (Path.cwd(), SHARE) for n in recipe_names(r / "recipes")})
            group, name = GROUP, error.missing_cfg_file.removeprefix(f"{GROUP}/")
        else:
            known = list(error.options or [])
        guess = nearest(name, known)
        hint = f"did you mean '{guess}'?" if guess else f"known: {', '.join(known)}"
        return f"Config is invalid:\n  {group}={name}: no such {'recipe' if group == GROUP else 'option'}; {hint}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"Config is invalid:\n  {mark.name}:{mark.line + 1}: not YAML: {error.problem}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    first = [line for line in str(error).splitlines() if line.strip()]
    text = first[0] if first else type(error).__name__
    if cause is not None and str(cause).splitlines()[0] not in text:
        text = f"{text} ({str(cause).splitlines()[0]})"
    if isinstance(error, OverrideParseException) or "mismatched" in text:
        text = f"{text}; quote the whole override: 'key=\"value\"'"
    return f"Config is invalid:\n  {text}"


