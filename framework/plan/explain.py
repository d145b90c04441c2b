"""Why a step runs: what differs from the artifact of the same step in an earlier run of the recipe.

It compares identities, which are plain data, and reads the records in the store. How the answer is shown, it
does not know.
"""

import json
from collections.abc import Mapping
from typing import Any

from framework.core.component import TARGET
from framework.core.step import Step
from framework.core.step_history import History
from framework.core.store import RECORD, Store


def why_not_cached(step: Step, store: Store, earlier: History) -> str:
    """Return why *store* has no artifact of *step*, such as ``tuning.rank 16 -> 8``.

    *earlier* are the steps that the recipe had; those of other recipes are no reason for anything.
    """
    record = _latest_record(step, store, earlier)
    if record is None:
        return "not built yet"
    return difference(record["identity"], step.identity())


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first difference between two identities of a step, such as ``tuning.rank 16 -> 8``.

    Empty where they are equal. A step whose spec is the same, but not its input, runs ``after`` that input.
    """
    if absent := [name for name, version in new["libraries"].items() if version is None]:
        return f"{absent[0]} is not installed"
    for part in ("version", "libraries"):
        if old[part] != new[part]:
            return f"{part} of the stage changed"
    if (changed_key := _spec_difference(old["spec"], new["spec"])) is not None:
        return changed_key
    if old["content"] != new["content"]:
        return "a local file changed"
    changed = [slot for slot, key in new["inputs"].items() if old["inputs"].get(slot) != key]
    if not changed:
        return ""
    return f"after {changed[0]}" + (f" and {len(changed) - 1} more" if changed[1:] else "")


def _latest_record(step: Step, store: Store, earlier: History) -> dict[str, Any] | None:
    """Return the record of the newest artifact among those that the label of *step* had earlier."""
    for key in earlier.get(step.label, ()):
        file = store.root / step.stage.name / key / RECORD
        if key != step.key and file.is_file():
            record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return record
    return None


def _spec_difference(old: Any, new: Any, path: str = "") -> str | None:
    """Return the first key in which two specs differ, with both values; None where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get(TARGET) != new.get(TARGET):
            names = (str(spec.get(TARGET)).rpartition(".")[2] for spec in (old, new))
            return f"{path} {' -> '.join(names)}"
        for key in [*new, *(key for key in old if key not in new)]:
            inner = f"{path}.{key}" if path else str(key)
            if inner == "plan":  # of the publish stage: a digest of its inputs
                continue
            if (changed_key := _spec_difference(old.get(key), new.get(key), inner)) is not None:
                return changed_key
        return None
    if old == new:
        return None
    if isinstance(old, dict) or isinstance(new, dict):
        return f"{path} is {'new' if old is None else 'gone' if new is None else 'another'}"
    return f"{path} {old} -> {new}"
