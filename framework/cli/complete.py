"""Shell completion: of verbs and their words here, of everything else by ``framework.config.completion``."""

import os
import sys

from framework.cli.verbs import NAMES, VERBS

FLAGS = {"-sc", "--shell-completion", "--shell_completion"}
"""The flags that ask for completion."""


def complete_verb() -> None:
    """Print what may follow ``COMP_LINE`` and exit; leave it to Hydra to install and remove the function."""
    shell = next((word.partition("=")[2] for word in sys.argv if word.startswith("query=")), "")
    if shell:
        print(("\n" if shell == "fish" else " ").join(suggestions(os.environ.get("COMP_LINE", "run"))))
        sys.exit(0)


def suggestions(line: str) -> list[str]:
    """Return what the last word of *line* may become; *line* begins with the program."""
    words = line.split()[1:]
    unfinished = "" if line.endswith(" ") or not words else words.pop()
    verb = next((known for known in VERBS if words and known.name == words[0]), None)
    if verb is not None:
        words.pop(0)
    known = [f"{word.key}=" for word in verb.words] if verb is not None else []
    known += NAMES if verb is None and not words else []
    found = [word for word in known if word.startswith(unfinished)]
    if verb is None or verb.composes:
        from framework.config.completion import completions

        found += completions(words, unfinished)
    return list(dict.fromkeys(found))
