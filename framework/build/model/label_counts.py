"""How often each class has a row in each split, and the classes that cannot be learned or are not tested.

Answers with a label, good and bad ones, are counted too.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from framework.build.data import SPLITS, Split
from framework.build.data.row import Row
from framework.build.model import Classes


def labels_in(row: Row) -> Sequence[str]:
    """Return the label or labels of *row*, or the entity types of its tags; each once."""
    if "label" in row:
        return [row["label"]]
    tags = {tag.partition("-")[2] for tag in row.get("tags", ())} - {""}
    return list(dict.fromkeys(row.get("labels", sorted(tags))))


class LabelCounts:
    """Rows of each class by split, if the model has *classes*, and of good and bad answers."""

    def __init__(self, classes: Classes | None) -> None:
        self._classes = classes
        self._counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self._answers: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}

    def add(self, split: Split, row: Row) -> None:
        """Count a row that is kept."""
        if self._classes:
            self._counts[split].update(labels_in(row))
        if "desirable" in row:
            self._answers[split]["desirable" if row["desirable"] else "undesirable"] += 1

    def summary(self, split: Split) -> dict[str, Any]:
        """Return ``labels``, the rows of each class, those without any included, and ``answers``.

        ``answers`` are the numbers of ``desirable`` and ``undesirable`` ones. Both keys are there only where
        the model has classes, and where rows have such labels.
        """
        summary: dict[str, Any] = {"answers": dict(self._answers[split])} if self._answers[split] else {}
        if self._classes:
            summary["labels"] = {name: self._counts[split][name] for name in self._classes.names}
        return summary

    def report(self) -> None:
        """Print each class without a training row, and the learned ones without a test row."""
        if not self._classes:
            return
        key, train, test = f"model.{self._classes.key}", self._counts["train"], self._counts["test"]
        if untested := [repr(name) for name in self._classes.names if train[name] and not test[name]]:
            print(f"  warning: {key}: no test row has {', '.join(untested)}, so it is not tested", flush=True)
        for name in self._classes.names:
            if not train[name]:
                print(
                    f"  warning: {key}: no training row has {name!r} ({test[name]} test rows have it), so it "
                    "cannot be learned",
                    flush=True,
                )
