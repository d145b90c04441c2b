"""The text of ``run --help`` and ``run <verb> --help``.

Hydra would compose a config for it and copy its search path once for every option, which takes twice as
long as its own start. The folders and the table of verbs are enough.
"""

import textwrap
from collections import Counter
from collections.abc import Sequence

from framework.cli.verb import Verb
from framework.cli.verbs import VERBS
from framework.config.options import GROUP, groups, options

_WIDTH = 80

TEXT = """\
Gitune: from one YAML recipe to a checked model and the manifests that serve it.

Usage: run [verb] [+recipe=<name>] [group=<option>] [key=value] ...

Verbs (run <verb> --help has words and examples)
  (none)       build what is missing, render the manifests, show the numbers
{verbs}

Examples
  run +recipe=quickstart
  run plan +recipe=quickstart tuning.rank=8
  run +recipe=quickstart name=mine data=files data.train=rows.jsonl

Recipes and options; files in ./recipes and ./conf come first
{groups}

Flags
  -m, --multirun   one job for each of key=a,b or '+recipe=glob(*)'
  --cfg job        print the composed config instead of running
  --version        print the version and what it was built from
  -sc install=bash print shell completion for bash (zsh and fish too)
  --hydra-help     Hydra's own flags
"""


def help_text() -> str:
    """Return the help with every group and option of the working folder and of the framework."""
    lines = [f"{group}: {', '.join(_shortened(options(group)))}" for group in sorted([*groups(), GROUP])]
    wrapped = (_fill(line, "", "    ") for line in lines)
    verbs = (f"  {verb.name:<12} {verb.summary}" for verb in VERBS)
    return TEXT.format(groups="\n".join(wrapped), verbs="\n".join(verbs))


def _shortened(names: Sequence[str]) -> list[str]:
    """Return *names*, those of a folder as one entry, such as ``methods/ (16)``."""
    folders = Counter(name.partition("/")[0] for name in names if "/" in name)
    alone = [name for name in names if "/" not in name]
    return sorted([*alone, *(f"{folder}/ ({count})" for folder, count in folders.items())])


def verb_help(verb: Verb) -> str:
    """Return the usage, words, defaults and examples of one verb."""
    required = [f"{word.key}=<{word.key}>" for word in verb.words if word.default is None]
    optional = ["[key=value]"] if len(required) < len(verb.words) or verb.composes else []
    recipe = ["[+recipe=<name>]", "[group=<option>]"] if verb.composes else []
    usage = _fill(f"Usage: run {' '.join([verb.name, *recipe, *required, *optional])}", "", "    ")
    lines = [f"run {verb.name}: {verb.summary}", "", usage, "", _fill(verb.details, "", "")]
    if verb.words:
        lines += ["", "Words", *(_word_line(word.key, word.meaning, word.default) for word in verb.words)]
    lines += ["", "Examples", *(f"  {example}" for example in verb.examples)]
    return "\n".join(lines) + "\n"


def _word_line(key: str, meaning: str, default: str | None) -> str:
    state = "required" if default is None else f"default {default}" if default else "optional"
    return _fill(f"{key + '=':<14} {meaning} ({state})", "  ", " " * 17)


def _fill(text: str, first: str, rest: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )
