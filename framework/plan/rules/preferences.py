"""The rules of preferences: which trainings learn from pairs, and which from answers with a label.

They look at local rows only; the steps say the same of others.
"""

from enum import Enum, auto

from framework.build.data import Data, Line
from framework.build.data.row_formats import read_row
from framework.config.schema import Config
from framework.core.errors import DataError, SourceError
from framework.core.problem import Problem
from framework.core.source import Source

_READ = 100_000
_PROBED = 100


class _Kind(Enum):
    PLAIN = auto()
    PAIR = auto()
    GOOD = auto()
    BAD = auto()
    UNKNOWN = auto()
    """Rows that are not read here."""


def preference_rules(config: Config) -> list[Problem]:
    """Return that the training does not learn from the kind of the local rows."""
    kinds = {kind for part in config.data.walk() if isinstance(part, Data) for kind in _kinds(part)}
    training, judged = config.training, kinds & {_Kind.GOOD, _Kind.BAD}
    if _Kind.PAIR in kinds and not training.compares:
        reason = "the rows have rejected answers, from which this option does not learn"
        advice = "give the chosen answers as 'completion' to learn them alone"
        return [Problem("training", reason, ("training=dpo",), advice)]
    if training.judges:
        return _one_sided(kinds, judged)
    if _Kind.BAD in judged:
        reason = "rows have label false, bad answers that this option would learn as good ones"
        return [Problem("training", reason, ("training=kto",), "leave out the bad answers")]
    if judged and training.compares:
        reason = "the rows have labels, and this option needs rejected answers"
        return [Problem("training", reason, ("training=supervised",))]
    return []


def _one_sided(kinds: set[_Kind], judged: set[_Kind]) -> list[Problem]:
    """Return that rows have no label, or only one, for a training that needs both."""
    if _Kind.UNKNOWN in kinds or _Kind.PAIR in kinds or len(judged) == 2 or not kinds:
        return []
    if _Kind.BAD in judged:
        reason = "every row has label false, and this option learns from good answers too"
        return [Problem("training", reason, advice="add rows with label true")]
    reason = "the rows have no label" if not judged else "every row has label true"
    reason = f"{reason}, and this option learns from good and bad answers"
    return [Problem("training", reason, ("training=supervised",), "add rows with label false")]


def _kinds(data: Data) -> set[_Kind]:
    """Return the kinds of the training rows; none for a mix, whose parts are asked.

    Of pairs and of rows without a label, one row is read, since they mix with no others.
    """
    parts = [*data.walk()]
    sources = [part for part in parts if isinstance(part, Source)]
    if sum(isinstance(part, Data) for part in parts) > 1:
        return set()
    if not sources or not all(source.local for source in sources):
        return {_Kind.UNKNOWN}
    kinds: set[_Kind] = set()
    try:
        for number, line in enumerate(data.read("train"), 1):
            kinds |= _kind(line, data)
            if len(kinds) == 2 or kinds & {_Kind.PLAIN, _Kind.PAIR}:
                return kinds
            if number == _READ or (number == _PROBED and not kinds):
                return {*kinds, _Kind.UNKNOWN}
    except (DataError, SourceError):  # other rules and the step ``read`` report it
        return {_Kind.UNKNOWN}
    return kinds


def _kind(line: Line, data: Data) -> set[_Kind]:
    """Return the kind of a row; none if it cannot be read."""
    if line.problem is not None:
        return set()
    try:
        row, _ = read_row(line.raw, (*data.ignore, *line.ignore))
    except DataError:
        return set()
    if "desirable" in row:
        return {_Kind.GOOD if row["desirable"] else _Kind.BAD}
    return {_Kind.PAIR if "rejected" in row else _Kind.PLAIN}
