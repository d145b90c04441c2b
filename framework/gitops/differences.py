"""What changes between a base and this working folder, for one recipe: config, plan and manifests.

Plain data from two trees in, plain data out; where they come from and how they are shown, it does not know.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from framework.core.component import TARGET
from framework.gitops.remote_compose import Answer
from framework.plan.explain import difference

ABSENT = "(none)"


@dataclass(frozen=True)
class Difference:
    """All that a recipe does otherwise."""

    recipe: str
    error: str = ""
    """Why the recipe cannot be planned here."""
    exit_code: int = 1
    is_new: bool = False
    """Whether the base has no such recipe."""
    config: tuple[tuple[str, str, str], ...] = ()
    """Key, value in the base and value here."""
    steps: tuple[tuple[str, str], ...] = ()
    """Label of a step that would run again, and why."""
    gone: tuple[str, ...] = ()
    """Labels of steps that are no longer there."""
    step_count: int = 0
    manifests: Mapping[str, str] = field(default_factory=dict)
    """Unified diff by ``<environment>/<release>``; empty where nothing changes."""

    def __bool__(self) -> bool:
        return bool(self.error or self.config or self.steps or self.gone or any(self.manifests.values()))


def compared(recipe: str, old: Answer, new: Answer, manifests: Mapping[str, str]) -> Difference:
    """Return how *new* differs from *old*; an *old* that is an error is a base without the recipe."""
    if new.error:
        return Difference(recipe, error=new.error, exit_code=new.exit_code)
    was, now = dict(flat(old.config)), dict(flat(new.config))
    changed = [(key, was.get(key, ABSENT), now.get(key, ABSENT)) for key in {**now, **was}]
    before = {step["label"]: step for step in old.steps}
    again = [
        (step["label"], _why(before.get(step["label"]), step))
        for step in new.steps
        if step["label"] not in before or before[step["label"]]["key"] != step["key"]
    ]
    labels = {step["label"] for step in new.steps}
    return Difference(
        recipe,
        is_new=bool(old.error),
        config=() if old.error else tuple(each for each in changed if each[1] != each[2]),
        steps=tuple(again),
        gone=tuple(label for label in before if label not in labels),
        step_count=len(new.steps),
        manifests=manifests,
    )


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of a config with its dotted key; an option's class stands for its choice."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            if key == TARGET:
                yield path or "config", str(item).rpartition(".")[2]
            else:
                yield from flat(item, f"{path}.{key}" if path else str(key))
    elif value is not None or path:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def manifest_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return a unified diff of rendered files by name, empty where they are equal."""
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
