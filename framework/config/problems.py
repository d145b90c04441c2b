"""Pydantic's validation errors as problems: what is wrong with a key, and what was probably meant.

It does not know where the key was written; that is ``framework.config.provenance``.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from pydantic_core import ErrorDetails

from framework.core.component import TARGET, Component
from framework.core.problem import Problem
from framework.core.suggest import nearest

FOREIGN = {
    "lora_r": "tuning.rank",
    "lora_rank": "tuning.rank",
    "r": "tuning.rank",
    "lora_alpha": "tuning.alpha",
    "lora_dropout": "tuning.dropout",
    "lora_target": "tuning.target_modules",
    "lora_target_modules": "tuning.target_modules",
    "base_model": "model=<option>",
    "model_name_or_path": "model=<option>",
    "dataset": "data=<option>",
    "datasets": "data=<option>",
    "cutoff_len": "data.max_length",
    "max_seq_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "sequence_len": "data.max_length",
    "num_epochs": "training.epochs",
    "num_train_epochs": "training.epochs",
    "lr": "training.learning_rate",
    "lr_scheduler": "training.schedule",
    "lr_scheduler_type": "training.schedule",
    "per_device_train_batch_size": "training.micro_batch_size",
    "batch_size": "training.micro_batch_size",
    "grad_accum": "training.gradient_accumulation_steps",
    "max_grad_norm": "training.gradient_clipping",
    "quantization": "compression=<option>",
    "submit": "launcher.dry_run",
}
"""Keys of other tools, and ours for the same setting."""

_LONGEST = 60
_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*@")


def as_problem(error: ErrorDetails, root: type[Component], raw: Any) -> Problem:
    """Return what is wrong with the key at ``error['loc']``, and how to fix it.

    Args:
        error: one of pydantic's errors.
        root: the class that validated *raw*.
        raw: the whole config as plain data.
    """
    key = ".".join(map(str, error["loc"]))
    return replace(_problem(error, root, raw), key=key)


def _problem(error: ErrorDetails, root: type[Component], raw: Any) -> Problem:
    kind, key, value = error["type"], str(error["loc"][-1]) if error["loc"] else "", error["input"]
    if kind == "extra_forbidden":
        component = owner(root, raw, error["loc"][:-1])
        return Problem("", "unknown key", advice=_right_key(error["loc"], component, root, raw))
    if kind == "no_option" or (kind == "missing" and len(error["loc"]) == 1):
        replaced = value is not None and not isinstance(value, Mapping)
        reason = f"should be a mapping, got {_shown(value)}" if replaced else "no option is chosen"
        path = ".".join(map(str, error["loc"]))
        choice = f"{key}=<option>" if path == key else f"{key}@{path}=<option>"
        return Problem("", reason, (choice,))
    if kind == "missing":
        return Problem("", "this key is required")
    if kind in ("dict_type", "model_type"):
        component = owner(root, raw, error["loc"]) if kind == "model_type" else None
        keys = f" with the keys {', '.join(component.model_fields)}" if component else ""
        return Problem("", f"should be a mapping{keys}, got {_shown(value)}")
    if kind == "too_short":
        return Problem("", f"should have at least {error['ctx']['min_length']} items, got {_shown(value)}")
    message = error["msg"].removeprefix("Input ").removeprefix("String ").replace("valid tuple", "list")
    if kind.startswith("target_") or isinstance(value, Mapping):
        return Problem("", message)
    return Problem("", f"{message}, got {_shown(value)}", advice=_right_value(error))


def _right_key(
    path: Sequence[int | str], component: type[Component] | None, root: type[Component], raw: Any
) -> str:
    """Return the advice for an unknown key at *path*, in a mapping that *component* validates."""
    key = str(path[-1])
    keys = [*component.model_fields] if component else []
    if key in FOREIGN:
        return f"use '{FOREIGN[key]}'"
    if elsewhere := _elsewhere(path, root, raw):
        return f"did you mean {' or '.join(elsewhere)}?"
    if guess := nearest(key, keys):
        return f"did you mean '{guess}'?"
    if component is not None and not keys:
        return f"remove it, {component.__name__} has no keys"
    return f"choose one of {', '.join(keys)}" if keys else ""


def _elsewhere(path: Sequence[int | str], root: type[Component], raw: Any) -> list[str]:
    """Return the keys of other groups that end like *path*, such as ``'training.epochs'``."""
    if not isinstance(raw, Mapping):
        return []
    key = str(path[-1])
    others = [group for group in root.model_fields if group in raw and group not in path]
    owners = {group: owner(root, raw, (group,)) for group in others}
    plain = key in root.model_fields and not isinstance(raw.get(key, {}), Mapping)
    top = [f"'{key}'"] if len(path) > 1 and plain else []
    return top + [f"'{group}.{key}'" for group, cls in owners.items() if cls and key in cls.model_fields]


def _right_value(error: ErrorDetails) -> str:
    expected = str(error.get("ctx", {}).get("expected", ""))
    choices = [word.strip("' ") for word in expected.replace(" or ", ",").split(",") if word.strip()]
    guess = nearest(str(error["input"]), choices) if error["type"] == "literal_error" else None
    return f"did you mean '{guess}'?" if guess else ""


def _shown(value: Any) -> str:
    """Return *value* as it was typed, without a password and not too long."""
    text = _PASSWORD.sub(r"\1:***@", repr(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def owner(root: type[Component], raw: Any, path: Iterable[int | str]) -> type[Component] | None:
    """Return the class that validates the mapping at *path* of *raw*, or None for a plain mapping."""
    component: type[Component] | None = root
    for key in path:
        annotation = None
        if component is not None and key in component.model_fields:
            annotation = component.model_fields[str(key)].annotation
            component = None
        if isinstance(raw, Mapping):
            raw = raw.get(key)
        elif isinstance(raw, list) and isinstance(key, int) and key < len(raw):
            raw = raw[key]
        if isinstance(raw, Mapping) and TARGET in raw:
            component = _imported(str(raw[TARGET]))
        elif annotation is not None:
            component = _component_in(annotation)
    return component


def _imported(target: str) -> type[Component] | None:
    """Return the class *target* if validation imported it; nothing is imported for a message."""
    module, _, name = target.rpartition(".")
    cls = getattr(sys.modules.get(module), name, None)
    return cls if inspect.isclass(cls) and issubclass(cls, Component) else None


def _component_in(annotation: Any) -> type[Component] | None:
    if inspect.isclass(annotation) and issubclass(annotation, Component):
        return annotation
    for argument in get_args(annotation):
        if component := _component_in(argument):
            return component
    return None
