"""Which function does what a verb of Git asks for."""

import os
from collections.abc import Sequence
from importlib import import_module


def perform(verb: str, words: Sequence[str]) -> None:
    """Do what ``run <verb> <words>`` asks.

    Raises:
        FrameworkError: whatever keeps it from being done.
    """
    # Hydra's own reports end the process and hide ours; with this it raises instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    getattr(import_module(f"framework.gitops.{verb}"), verb)(words)
