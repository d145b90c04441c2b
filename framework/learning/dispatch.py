"""Dispatch a verb to the function of the same name in the module of the same name."""

import os
from collections.abc import Sequence
from importlib import import_module


def perform(verb: str, words: Sequence[str]) -> None:
    """Execute ``run <verb> <words>``.

    Raises:
        FrameworkError: the verb fails.
    """
    # Without this, Hydra prints its own report and exits; with it, Hydra raises.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    name = verb.replace("-", "_")
    getattr(import_module(f"framework.learning.{name}"), name)(words)
