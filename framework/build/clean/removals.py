"""What a cleaning step removed and rewrote: rows stream to a file, counts and samples stay in memory."""

import heapq
import json
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

from framework.build.clean import Reason
from framework.build.clean.row_texts import excerpt
from framework.build.data import Split
from framework.build.data.row_file import RowFile
from framework.core.errors import DataError

REMOVED = "removed.jsonl"
SAMPLES = "samples.json"
SAMPLES_PER_RULE = 10


class Removals(RowFile):
    """The removed and rewritten rows of one cleaning step; use it as a context manager.

    ``removed.jsonl`` gets every removed row with its split, file, line, rule and reason.
    """

    def __init__(self, output: Path) -> None:
        """Start ``removed.jsonl`` in *output*."""
        super().__init__(output / REMOVED)
        self._output = output
        self._removed: Counter[tuple[str, str]] = Counter()
        self._rewritten: Counter[tuple[str, str]] = Counter()
        self._samples: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def add(self, split: Split, reason: Reason) -> None:
        """Record one reason."""
        row = reason.row
        entry = {
            "split": split,
            "file": row.file,
            "line": row.line,
            "rule": reason.rule,
            "reason": reason.text,
        }
        if reason.result is None:
            self._removed[split, reason.rule] += 1
            self.write({**entry, "row": row.row})
        else:
            self._rewritten[split, reason.rule] += 1
        self._sample(reason, entry)

    def summary(self, split: Split) -> dict[str, Any]:
        """Return the counts of *split* by rule, for ``summary.json``."""
        counts = (("removed_by", self._removed), ("rewritten_by", self._rewritten))
        return {
            name: {rule: count for (of, rule), count in sorted(counted.items()) if of == split}
            for name, counted in counts
        }

    def removed(self, split: Split) -> int:
        """Return how many rows of *split* were removed."""
        return sum(count for (of, _), count in self._removed.items() if of == split)

    def write_samples(self) -> None:
        """Write ``samples.json``: of each rule, up to ten rows."""
        samples = {
            rule: [entry for _, entry in sorted(kept, key=lambda item: -item[0])]
            for rule, kept in sorted(self._samples.items())
        }
        text = json.dumps(samples, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        (self._output / SAMPLES).write_text(text, encoding="utf-8")

    def report(self) -> None:
        """Print the counts of each rule."""
        for verb, counted in (("removed", self._removed), ("rewrote", self._rewritten)):
            for (split, rule), count in sorted(counted.items()):
                print(f"  {split}: {rule} {verb} {count} rows", flush=True)

    def _sample(self, reason: Reason, entry: dict[str, Any]) -> None:
        """Keep the row if its place is among the ten of its rule with the smallest digests.

        The choice depends on the rows alone, and is spread over all files.
        """
        place = f"{entry['split']}:{reason.row.file}:{reason.row.line}"
        # Negative, since heapq keeps the smallest at the front, which is the one to give up.
        order = -int.from_bytes(blake2b(place.encode(), digest_size=8).digest())
        kept = self._samples.setdefault(reason.rule, [])
        if len(kept) == SAMPLES_PER_RULE and order <= kept[0][0]:
            return
        sample = {**entry, "before": excerpt(reason.row)}
        if reason.result is not None:
            sample["after"] = excerpt(reason.result)
        if reason.result == reason.row:  # the rule hides what was there
            del sample["before"]
        if any(order == other for other, _ in kept):  # a row may be rewritten in two ways
            return
        (heapq.heappushpop if len(kept) == SAMPLES_PER_RULE else heapq.heappush)(kept, (order, sample))


def require_share(key: str, removed: dict[str, int], rows: int, max_removed: float) -> None:
    """Raise ``DataError`` if more than a share of *max_removed* of *rows* was removed, or all.

    Args:
        key: the config key of the cleaning step, such as ``clean.near``.
        removed: removed training rows by rule.
        rows: training rows before.
        max_removed: the share.
    """
    total = sum(removed.values())
    if total <= max_removed * rows and total < rows:
        return
    by_rule = ", ".join(f"{rule} {count}" for rule, count in removed.items())
    limit = (
        f"more than {key}.max_removed={max_removed:g} allows; correct its settings or the rows, or raise it"
        if total > max_removed * rows
        else "and none is left; correct its settings or the rows"
    )
    raise DataError(f"data: {key} removed {total} of {rows} training rows ({by_rule}), {limit}")
