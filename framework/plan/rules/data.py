"""The rules of data: what can be seen of local rows before any is read, and their labels."""

import re
from collections import Counter
from itertools import islice

from framework.build.data import Data
from framework.build.data.row_formats import read_row
from framework.build.model.label_counts import labels_in
from framework.config.schema import Config
from framework.core.errors import DataError, SourceError
from framework.core.problem import Problem
from framework.core.source import Source

_READ = 100_000
_MANY = 50
_PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_][\w-]*", re.IGNORECASE)


def data_rules(config: Config) -> list[Problem]:
    """Return sources without rows or of unknown format, and files that are in both splits."""
    return [problem.below("data", type(config.data).model_fields) for problem in config.data.problems()]


def label_rules(config: Config) -> list[Problem]:
    """Return that the model's classes are missing, with those of the training rows on this machine."""
    classes = config.model.classes
    if classes is None or len(classes.names) >= classes.least:
        return []
    key = f"model.{classes.key}"
    counts = _labels([phase.data for phase in config.phases.values()] or [config.data])
    reason = f"{len(classes.names)} are named, at least {classes.least} are needed"
    if not classes.least <= len(counts) <= _MANY:
        return [Problem(key, reason, (f"{key}=[<name>,<name>]",))]
    shown = ", ".join(f"{name} ({count})" for name, count in counts.items())
    reason = f"{reason}; the training rows have {shown}"
    names = f"[{','.join(map(_quoted, counts))}]"
    if " " in names:  # overrides are words
        return [Problem(key, reason, advice=f"name them in the recipe as {names}")]
    return [Problem(key, reason, (f"{key}={names}",))]


def _labels(options: list[Data]) -> Counter[str]:
    """Return how often each label is in the first training rows, by name; empty unless all are local."""
    counts: Counter[str] = Counter()
    if not all(part.local for data in options for part in data.walk() if isinstance(part, Source)):
        return counts
    try:
        for data in options:
            for line in islice(data.read("train"), _READ):
                ignored = (*data.ignore, *line.ignore)
                counts.update(_labels_of(line.raw, ignored) if line.problem is None else ())
    except (DataError, SourceError):
        return Counter()
    return Counter(dict(sorted(counts.items())))


def _labels_of(raw: object, ignore: tuple[str, ...]) -> list[str]:
    try:
        row, _ = read_row(raw, ignore)
        return list(labels_in(row))
    except DataError:
        return []


def _quoted(name: str) -> str:
    """Return *name* as it is written in an override."""
    return name if _PLAIN.fullmatch(name) else f"'{name}'"
