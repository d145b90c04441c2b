"""Shell completion: of verbs here, of everything else by Hydra."""

import os

from framework.cli.verbs import NAMES

FLAGS = {"-sc", "--shell-completion", "--shell_completion"}
"""The flags that ask for completion."""


def complete_verb() -> None:
    """Print the verbs that fit, or let Hydra complete ``run plan +recipe=…`` as ``run +recipe=…``."""
    program, _, rest = os.environ.get("COMP_LINE", "run").partition(" ")
    first, space, others = rest.lstrip().partition(" ")
    if first in NAMES and space:
        os.environ["COMP_LINE"] = f"{program} {others}"
    elif not space:
        print(" ".join(name for name in NAMES if name.startswith(first)))
