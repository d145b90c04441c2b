"""``clean=schema``: rows whose columns are not as they should be."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from framework.build.clean import Batch, CorpusClean, Removal
from framework.build.clean.column_files import PACKAGES, opened_columns, records
from framework.build.clean.column_rules import (
    COLUMNS,
    NO_JSON,
    ColumnRules,
    below,
    columns_of,
    is_missing,
    json_of,
    matches,
    shown_whole,
)
from framework.core.problem import Problem
from framework.core.suggest import nearest

if TYPE_CHECKING:
    import pyarrow as pa

_BROKEN = "select number, rule, why from columns where rule is not null"
_REPEATED = """
    select number, '{column}.unique' as rule,
           '{column} has the same value as ' || file || ':' || line as why from (
        select number, first_value(file) over alike as file, first_value(line) over alike as line,
               row_number() over alike as position
        from columns where rule is null and unique{index} is not null
        window alike as (partition by unique{index} order by number)
    ) where position > 1
"""


class Schema(CorpusClean):
    """Remove training rows that break a rule of a column; each is named with its column and rule.

    Columns are those of rows as they were read: ``system``, ``prompt``, ``answer``, ``turns``, ``tools``,
    ``rejected``, ``desirable``, ``text``, ``label``, ``labels``, ``image``, ``tokens``, ``tags``, and
    ``answer.<key>`` for a value of an answer that is a JSON object.
    """

    seconds_per_row: ClassVar[float] = 4e-5

    checks: dict[str, ColumnRules] = Field(default={})
    """The rules of each column: ``{label: {required: true, allowed: [even, odd]}}``. There are
    ``required``, ``type``, ``pattern``, ``allowed``, ``minimum``, ``maximum``, ``min_length``, ``max_length``
    and ``unique``."""

    def requires(self) -> Mapping[str, str]:
        """Return the packages that match and compare."""
        return {"xxhash": "clean", **PACKAGES}

    def problems(self) -> list[Problem]:
        """Return columns that no row has, and rules that no value keeps."""
        if not self.checks:
            advice = "name a column: clean.schema.checks={answer: {max_length: 2000}}"
            return [Problem("checks", "checks nothing", advice=advice)]
        return [problem for name, rules in self.checks.items() for problem in _problems(name, rules)]

    def columns(self, batch: Batch) -> "Mapping[str, pa.Array]":
        """Return each row's first broken rule and all of them as a text, and digests of unique columns."""
        import pyarrow as pa
        import xxhash

        rows = [columns_of(source.row) for source in batch]
        broken: list[list[tuple[str, str]]] = [[] for _ in rows]
        digests: dict[str, pa.Array] = {}
        answers = [json_of(row.get("answer")) for row in rows] if self._reads_json else []
        for name, rules in self.checks.items():
            values = _values(name, rows, answers)
            for row, found in enumerate(rules.broken(values, texts="." not in name)):
                broken[row] += [(f"{name}.{rule}", f"{name} {why}") for rule, why in found]
            if rules.unique:
                hashed = [
                    None
                    if value is NO_JSON or is_missing(value)
                    else xxhash.xxh3_128_digest(shown_whole(value).encode())
                    for value in values
                ]
                digests[f"unique{len(digests)}"] = pa.array(hashed, pa.binary())
        return {
            "rule": pa.array([found[0][0] if found else None for found in broken], pa.string()),
            "why": pa.array(["; ".join(why for _, why in found) for found in broken], pa.string()),
            **digests,
        }

    @property
    def _reads_json(self) -> bool:
        return any("." in name for name in self.checks)

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield rows that break a rule; of those that do not, rows whose unique value an earlier one has."""
        unique = [name.replace("'", "''") for name, rules in self.checks.items() if rules.unique]
        parts = [_REPEATED.format(column=name, index=index) for index, name in enumerate(unique)]
        every = " union all ".join([_BROKEN, *parts])
        query = f"select number, min(rule), min_by(why, rule) from ({every}) group by number order by number"
        with opened_columns(folder) as connection:
            for number, rule, why in records(connection, query):
                yield Removal(number, rule, why)


def _values(name: str, rows: list[dict[str, Any]], answers: list[Any]) -> list[Any]:
    if name in COLUMNS:
        return [row.get(name) for row in rows]
    return [below(answer, name.split(".")[1:]) for answer in answers]


def _problems(name: str, rules: ColumnRules) -> Iterator[Problem]:
    key = f"checks.{name}"
    if name not in COLUMNS and not (name.startswith("answer.") and all(name.split("."))):
        guess = nearest(name, COLUMNS)
        hint = f"; did you mean '{guess}'?" if guess else ""
        advice = f"columns are {', '.join(COLUMNS)} and answer.<key>"
        yield Problem(key, f"no row has the column '{name}'{hint}", advice=advice)
    if not rules.model_fields_set:
        yield Problem(key, "has no rule", advice="add one, such as required: true")
    for least, greatest in (("minimum", "maximum"), ("min_length", "max_length")):
        low, high = getattr(rules, least), getattr(rules, greatest)
        if low is not None and high is not None and low > high:
            yield Problem(f"{key}.{least}", f"exceeds {greatest}={high:g}", advice="swap them")
    # Without pyarrow the plan stops anyway, since the option requires it.
    if rules.pattern is not None and find_spec("pyarrow"):
        try:
            matches(rules.pattern, [""])
        except ValueError as error:
            advice = "write it without look-around and back references"
            yield Problem(f"{key}.pattern", f"is no pattern of RE2: {error}", advice=advice)
