"""Validation errors as sentences: what is wrong with a key, and what was probably meant.

It does not know where the key was written; that is ``framework.config.provenance``.
"""

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic_core import ErrorDetails

from framework.core.component import TARGET, Component
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
}
"""What other tools call a key, and what it is called here."""

_LONGEST = 60
_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*@")


def sentence(error: ErrorDetails, root: type[Component], raw: Any) -> str:
    """Say what is wrong with the key at ``error['loc']`` and how to mend it."""
    kind, key = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"], owner(root, raw, error["loc"][:-1]), root, raw)
    if kind == "no_option" or (kind == "missing" and len(error["loc"]) == 1):
        replaced = error["input"] is not None and not isinstance(error["input"], Mapping)
        said = f"should be a mapping, got {_shown(error['input'])}" if replaced else "no option is chosen"
        return f"{said}; choose one with '{key}=<option>'"
    if kind == "missing":
        return "this key is required"
    if kind in ("dict_type", "model_type"):
        component = owner(root, raw, error["loc"]) if kind == "model_type" else None
        known = f" with the keys {', '.join(component.model_fields)}" if component else ""
        return f"should be a mapping{known}, got {_shown(error['input'])}"
    if kind == "too_short":
        return f"should have at least {error['ctx']['min_length']} items, got {_shown(error['input'])}"
    message = error["msg"].removeprefix("Input ").removeprefix("String ").replace("valid tuple", "list")
    if kind.startswith("target_") or isinstance(error["input"], Mapping):
        return message
    return f"{message}, got {_shown(error['input'])}{_near_value(error)}"


def _unknown_key(
    path: Sequence[int | str], component: type[Component] | None, root: type[Component], raw: Any
) -> str:
    key = str(path[-1])
    known = list(component.model_fields) if component else []
    if key in FOREIGN:
        return f"unknown key; it is called '{FOREIGN[key]}' here"
    if places := _elsewhere(path, root, raw):
        return f"unknown key; did you mean {' or '.join(places)}?"
    if guess := nearest(key, known):
        return f"unknown key; did you mean '{guess}'?"
    if component is not None and not known:
        return f"unknown key; {component.__name__} has none, leave it out"
    return f"unknown key; known are: {', '.join(known)}" if known else "unknown key"


def _elsewhere(path: Sequence[int | str], root: type[Component], raw: Any) -> list[str]:
    """Return other places' keys that have the last name of *path*, such as ``'training.epochs'``."""
    if not isinstance(raw, Mapping):
        return []
    key = str(path[-1])
    others = [group for group in root.model_fields if group in raw and group not in path]
    owners = {group: owner(root, raw, (group,)) for group in others}
    plain = key in root.model_fields and not isinstance(raw.get(key, {}), Mapping)
    top = [f"'{key}'"] if len(path) > 1 and plain else []
    return top + [
        f"'{group}.{key}'" for group, found in owners.items() if found and key in found.model_fields
    ]


def _near_value(error: ErrorDetails) -> str:
    expected = str(error.get("ctx", {}).get("expected", ""))
    choices = [word.strip("' ") for word in expected.replace(" or ", ",").split(",") if word.strip()]
    guess = nearest(str(error["input"]), choices) if error["type"] == "literal_error" else None
    return f"; did you mean '{guess}'?" if guess else ""


def _shown(value: Any) -> str:
    """Return a value as it was given, without a password and not too long."""
    text = _PASSWORD.sub(r"\1:***@", repr(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def owner(root: type[Component], raw: Any, path: Sequence[int | str]) -> type[Component] | None:
    """Return the class that validates the mapping at *path*, or None where it is a plain mapping."""
    found: type[Component] | None = root
    for key in path:
        annotation = None
        if found is not None and key in found.model_fields:
            annotation = found.model_fields[str(key)].annotation
            found = None
        if isinstance(raw, Mapping):
            raw = raw.get(key)
        elif isinstance(raw, list) and isinstance(key, int) and key < len(raw):
            raw = raw[key]
        if isinstance(raw, Mapping) and TARGET in raw:
            found = _chosen(str(raw[TARGET]))
        elif annotation is not None:
            found = _component_in(annotation)
    return found


def _chosen(target: str) -> type[Component] | None:
    """Return the class that *target* names if validation imported it; nothing is imported for a message."""
    module, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found if inspect.isclass(found) and issubclass(found, Component) else None


def _component_in(annotation: Any) -> type[Component] | None:
    if inspect.isclass(annotation) and issubclass(annotation, Component):
        return annotation
    for argument in get_args(annotation):
        if found := _component_in(argument):
            return found
    return None
