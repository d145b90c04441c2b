"""Validation errors as sentences: what is wrong with a key, and what was probably meant."""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, get_args

from pydantic_core import ErrorDetails

from framework.core.component import TARGET, Component
from framework.core.words import nearest

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
    "cutoff_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "sequence_len": "data.max_length",
    "num_epochs": "training.epochs",
    "num_train_epochs": "training.epochs",
    "lr": "training.learning_rate",
    "per_device_train_batch_size": "training.micro_batch_size",
    "batch_size": "training.micro_batch_size",
    "grad_accum": "training.gradient_accumulation_steps",
    "quantization": "compression=<option>",
}
"""What other tools call a key, and what it is called here."""


def sentence(error: ErrorDetails, root: type[Component], raw: Any) -> str:
    """Say what is wrong with the key at ``error['loc']`` and how to mend it."""
    kind, key = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        return _unknown_key(key, owner(root, raw, error["loc"][:-1]))
    if kind == "missing":
        return "this key is required"
    if kind == "no_option":
        return f"no option is chosen; choose one with '{key}=<option>'"
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if kind.startswith(("target_", "empty_", "crossed_")) or error.get("ctx", {}).get("whole"):
        return message
    hint = _near_value(error)
    return f"{message}, got {error['input']!r}{hint}"


def _unknown_key(key: str, component: type[Component] | None) -> str:
    known = list(component.model_fields) if component else []
    if guess := nearest(key, known):
        return f"unknown key; did you mean '{guess}'?"
    if key in FOREIGN:
        return f"unknown key; it is called '{FOREIGN[key]}' here"
    return f"unknown key; known are: {', '.join(known)}" if known else "unknown key"


def _near_value(error: ErrorDetails) -> str:
    expected = str(error.get("ctx", {}).get("expected", ""))
    choices = [word.strip("' ") for word in expected.replace(" or ", ",").split(",") if word.strip()]
    guess = nearest(str(error["input"]), choices) if error["type"] == "literal_error" else None
    return f"; did you mean '{guess}'?" if guess else ""


def owner(root: type[Component], raw: Any, path: Sequence[int | str]) -> type[Component] | None:
    """Return the class that validates the mapping at *path*, or None where it is a plain mapping."""
    found: type[Component] | None = root
    for key in path:
        annotation = None
        if found is not None and key in found.model_fields:
            annotation = found.model_fields[str(key)].annotation
        if isinstance(raw, Mapping):
            raw = raw.get(key)
        elif isinstance(raw, list) and isinstance(key, int) and key < len(raw):
            raw = raw[key]
        if isinstance(raw, Mapping) and TARGET in raw:
            module, _, name = str(raw[TARGET]).rpartition(".")
            found = getattr(import_module(module), name)
        elif annotation is not None:
            found = _component_in(annotation)
    return found


def _component_in(annotation: Any) -> type[Component] | None:
    if inspect.isclass(annotation) and issubclass(annotation, Component):
        return annotation
    for argument in get_args(annotation):
        if found := _component_in(argument):
            return found
    return None
