"""Summarize a config: the chosen options and their values that are not defaults."""

from collections.abc import Iterator
from typing import Any

from framework.config.schema import Config
from framework.core.component import Component

_SHOWN = (
    *("model", "data", "clean", "select", "tuning", "training", "parallelism"),
    *("evaluation", "compression", "export"),
)


def settings(config: Config) -> dict[str, str]:
    """Return the groups that affect the model, by key: class name and non-default values.

    With phases, ``data``, ``tuning`` and ``training`` are listed once per phase.
    """
    summary: dict[str, str] = {}
    for group in _SHOWN:
        chosen = getattr(config, group)
        if config.phases and group in ("data", "tuning", "training"):
            for name, phase in config.phases.items():
                summary[f"{name}: {group}"] = described(getattr(phase, group))
        elif isinstance(chosen, Component):
            summary[group] = described(chosen)
        else:
            summary[group] = ", then ".join(described(option) for option in chosen.values())
    return {**summary, "seed": str(config.seed)}


def described(option: Component) -> str:
    """Return an option as one line."""
    values = [f"{name} {_text(value)}" for name, value in _changed(option)]
    return f"{type(option).__name__}: {', '.join(values)}" if values else type(option).__name__


def _changed(option: Component, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in type(option).model_fields.items():
        value = getattr(option, name)
        if value is None or (
            not field.is_required() and value == field.get_default(call_default_factory=True)
        ):
            continue
        if isinstance(value, Component):
            yield from _changed(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, Component):
        return described(value)
    if isinstance(value, list | tuple):
        return " ".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
