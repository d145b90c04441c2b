"""Which machine of a multi-machine job this is, from environment variables.

The first machine builds the steps; the others join its trainings. This module does not know who sets the
variables.
"""

import os
from pathlib import Path

MACHINE = "PET_NODE_RANK"
"""The machine's number, from 0; torchrun and Kubeflow use this name."""
MASTER = "PET_MASTER_ADDR"
"""The host name of the first machine."""
PORT = "PET_MASTER_PORT"
"""The TCP port for the rendezvous on the first machine."""
RUN = "GITUNE_RUN"
"""Identifies one run of a job, equal on all its machines and different from earlier runs."""
MESSAGE = "GITUNE_MESSAGE"
"""A file to write the error message to, such as a pod's termination log."""


def machine_rank() -> int:
    """Return this machine's number, from 0; 0 if unset."""
    return int(os.environ.get(MACHINE, "0"))


def run_name() -> str:
    """Return the name of this run; empty if unset."""
    return os.environ.get(RUN, "")


def over_file(store: Path, key: str) -> Path:
    """Return the file in which the first machine reports its exit code for the plan *key* to the others."""
    return store / "jobs" / f"{key}-{run_name()}.over"
