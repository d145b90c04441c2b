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
