"""How often each class has a row in each split, and the classes that cannot be learned or are not tested."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from framework.build.data import SPLITS, Split
from framework.build.data.row_formats import Row
from framework.build.model import Classes


def labels_in(row: Row) -> Sequence[str]:
    """Return the label or labels of *row*, or the entity types of its tags; each once."""
    if "label" in row:
        return [row["label"]]
    tags = {tag.partition("-")[2] for tag in row.get("tags", ())} - {""}
    return list(dict.fromkeys(row.get("labels", sorted(tags))))


class LabelCounts:
    """Rows of each class by split; counts nothing for a model without *classes*."""

    def __init__(self, classes: Classes | None) -> None:
        self._classes = classes
        self._counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}

    def add(self, split: Split, row: Row) -> None:
        """Count a row that is kept."""
        if self._classes:
            self._counts[split].update(labels_in(row))

    def summary(self, split: Split) -> dict[str, Any]:
        """Return ``labels``: the rows of each class, those without any included; empty for no classes."""
        if not self._classes:
            return {}
        return {"labels": {name: self._counts[split][name] for name in self._classes.names}}

    def report(self) -> None:
        """Print each class without a training row."""
        if not self._classes:
            return
        for name in self._classes.names:
            if not self._counts["train"][name]:
                tested = self._counts["test"][name]
                print(
                    f"  warning: model.{self._classes.key}: no training row has {name!r} ({tested} test rows "
                    "have it), so it cannot be learned",
                    flush=True,
                )
