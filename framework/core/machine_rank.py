"""Which of several machines of one job this is, as the environment says.

The first machine builds the steps; the others join it where it trains. Knows the variables' names, not
who sets them.
"""

import os
from pathlib import Path

MACHINE = "PET_NODE_RANK"
"""The machine's number, from 0, as torchrun and Kubeflow name it."""
MASTER = "PET_MASTER_ADDR"
"""The name by which the first machine is reached."""
PORT = "PET_MASTER_PORT"
"""The TCP port of the first machine on which all meet."""
RUN = "GITUNE_RUN"
"""What tells one run of a job from the runs before it, the same on all its machines."""
MESSAGE = "GITUNE_MESSAGE"
"""A file for the reason of a failure, such as a pod's termination log."""
COMMIT = "GITUNE_COMMIT"
"""The Git commit that the job was planned from, where the working folder knows none."""


def machine() -> int:
    """Return this machine's number; 0 where there is but one."""
    return int(os.environ.get(MACHINE, "0"))


def run_name() -> str:
    """Return the name of this run; empty where nobody gave one."""
    return os.environ.get(RUN, "")


def over_file(store: Path, key: str) -> Path:
    """Return the file by which the first machine tells the others how its work on the plan *key* ended."""
    return store / "jobs" / f"{key}-{run_name()}.over"
