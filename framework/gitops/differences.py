"""Compare one recipe's config, plan and manifests between a base and the working folder.

Plain data in, plain data out. It does not know where the data comes from or how it is shown.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from framework.core.component import TARGET
from framework.gitops.remote_compose import ComposeResult
from framework.plan.explain import difference

ABSENT = "(none)"


@dataclass(frozen=True)
class Difference:
    """Everything about one recipe that differs."""

    recipe: str
    error: str = ""
    """Why the recipe cannot be planned in the working folder."""
    exit_code: int = 1
    is_new: bool = False
    """Whether the base lacks the recipe."""
    config: tuple[tuple[str, str, str], ...] = ()
    """Key, value in the base, and value in the working folder."""
    steps: tuple[tuple[str, str], ...] = ()
    """Label of a step that would run again, and why."""
    gone: tuple[str, ...] = ()
    """Labels of removed steps."""
    step_count: int = 0
    manifests: Mapping[str, str] = field(default_factory=dict)
    """Unified diff by ``<environment>/<release>``; empty if nothing changes."""

    def __bool__(self) -> bool:
        return bool(self.error or self.config or self.steps or self.gone or any(self.manifests.values()))


def compared(recipe: str, old: ComposeResult, new: ComposeResult, manifests: Mapping[str, str]) -> Difference:
    """Return how *new* differs from *old*; an error in *old* means that the base lacks the recipe."""
    if new.error:
        return Difference(recipe, error=new.error, exit_code=new.exit_code)
    old_config, new_config = dict(flat(old.config)), dict(flat(new.config))
    keys = {**new_config, **old_config}
    values = [(key, old_config.get(key, ABSENT), new_config.get(key, ABSENT)) for key in keys]
    before = {step["label"]: step for step in old.steps}
    rerun = [
        (step["label"], _why(before.get(step["label"]), step))
        for step in new.steps
        if step["label"] not in before or before[step["label"]]["key"] != step["key"]
    ]
    labels = {step["label"] for step in new.steps}
    return Difference(
        recipe,
        is_new=bool(old.error),
        config=() if old.error else tuple(row for row in values if row[1] != row[2]),
        steps=tuple(rerun),
        gone=tuple(label for label in before if label not in labels),
        step_count=len(new.steps),
        manifests=manifests,
    )


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of a config with its dotted key; an option is represented by its class name."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            if key == TARGET:
                yield path or "config", str(item).rpartition(".")[2]
            else:
                yield from flat(item, f"{path}.{key}" if path else str(key))
    elif value is not None or path:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def manifest_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return a unified diff of rendered files, matched by name; empty if they are equal."""
    lines: list[str] = []
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            lines += difflib.unified_diff(
                old.get(name, "").splitlines(keepends=True),
                new.get(name, "").splitlines(keepends=True),
                f"a/{name}" if name in old else "/dev/null",
                f"b/{name}" if name in new else "/dev/null",
            )
    return "".join(lines)


def _why(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    if old is None:
        return "new"
    return difference(old["identity"], new["identity"]) or "its key changed"
