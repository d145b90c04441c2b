"""``clean=perplexity``: rows that are unlike the others, and rows that repeat.

Repetition is likely under any language model, so perplexity alone would keep it: the zlib ratio tells it.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr

from framework.build.clean import Batch, CorpusClean, Removal
from framework.build.clean.column_files import PACKAGES, opened_columns, records
from framework.build.clean.row_texts import Part, texts_of
from framework.build.clean.trigrams import MOST_WORDS, Trigrams
from framework.build.clean.word_ngrams import words_of
from framework.build.data.files import Files
from framework.build.data.row import Row
from framework.build.data.row_formats import read_row
from framework.build.data.shards import in_shards, read_shards
from framework.core.errors import DataError
from framework.core.problem import Problem
from framework.core.source import Source

if TYPE_CHECKING:
    import numpy as np

_RULES = (
    ("perplexity_low", "perplexity", "<"),
    ("perplexity_high", "perplexity", ">"),
    ("zlib_low", "zlib", "<"),
    ("zlib_high", "zlib", ">"),
)


class Perplexity(CorpusClean):
    """Remove training rows whose perplexity or zlib ratio is outside of bounds.

    The model counts the words' trigrams of the training rows themselves, each without its own, or of a
    ``reference``. Equal rows vouch for each other, so ``exact`` and ``near`` go first. It judges words and
    their order, not truth; the first texts of a rare topic or language are unlike the others, too.
    """

    seconds_per_row: ClassVar[float] = 1.6e-4

    on: Part = "answer"
    """The texts that are judged, together."""
    reference: Source | None = None
    """Rows or texts of the kind that is wanted, in any form that ``data=files`` reads, of which the first 4
    million words count. None: the training rows; of more than 4 million words, a sample by hash."""
    unit: Literal["quantile", "perplexity"] = "quantile"
    """What ``low`` and ``high`` are: quantiles of the rows that are judged, or perplexities per word."""
    low: Annotated[float, Field(ge=0)] = 0.01
    """Rows below are removed: templates, lists and boilerplate. 0 removes none."""
    high: Annotated[float, Field(gt=0)] = 0.98
    """Rows above are removed: shuffled, garbled and foreign text. As a quantile, 1 removes none."""
    zlib_ratio: tuple[float, float] = (0.2, 1.0)
    """Least and greatest size of the text after zlib, relative to before. Repetition is below 0.2 and random
    characters are above 0.75; English is near 0.8 with 20 words, 0.6 with 100 and 0.4 with 2,000."""
    judged_from: Annotated[int, Field(ge=2)] = 20
    """Words from which a text is judged; a shorter one stays."""

    _model: Trigrams | None = PrivateAttr(None)
    _every: int = PrivateAttr(0)
    """One in how many training rows was counted; 0 where none was."""

    def requires(self) -> Mapping[str, str]:
        """Return the packages that hash and compare."""
        return {"xxhash": "clean", **PACKAGES}

    def problems(self) -> list[Problem]:
        """Return bounds that no text is within."""
        problems = []
        if self.unit == "quantile" and self.high > 1:
            overrides = ("high=0.98", "unit=perplexity")
            problems.append(Problem("high", f"{self.high:g} is no quantile, which is at most 1", overrides))
        if self.low >= self.high:
            problems.append(Problem("low", f"must be less than high={self.high:g}", advice="swap them"))
        if self.zlib_ratio[0] >= self.zlib_ratio[1]:
            problems.append(
                Problem("zlib_ratio", "the least must be less than the greatest", advice="swap them")
            )
        return problems

    def opened(self, rows: Path, tokenizer: Any) -> Self:
        """Return the option with the counts of its model.

        Raises:
            DataError: the reference has no words.
            SourceError: it cannot be fetched.
        """
        copy = self.model_copy()
        if self.reference is not None:
            model = Trigrams(MOST_WORDS)
            for texts in in_shards(_referred(self.reference), lambda words: 8 * len(words)):
                model.count([words[: max(MOST_WORDS - model.words, 0)] for words in texts])
                if model.words >= MOST_WORDS:
                    break
            if not model.words:
                raise DataError(f"clean.perplexity.reference: {self.reference.url} has no words")
        else:
            # A word has 6 bytes or so, with its space.
            words = sum(file.stat().st_size for file in (rows / "train").glob("*.jsonl")) // 6
            copy._every = max(1, math.ceil(words / MOST_WORDS))
            model = Trigrams(words // copy._every)
            for batch in in_shards(read_shards(rows, "train"), lambda row: len(row.text)):
                counted = copy._counted(batch)
                kept = [row for row, counts in zip(batch, counted, strict=True) if counts]
                model.count([words_of(_text(source.row, self.on)) for source in kept])
        copy._model = model
        return copy

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return perplexity and zlib ratio of each row; NaN where a text is too short to be judged."""
        import numpy as np

        if self._model is None:
            raise DataError("clean.perplexity: columns needs the counts; call it on what opened() returns")
        texts = [_text(source.row, self.on) for source in batch]
        words = [words_of(text) for text in texts]
        perplexities = self._model.perplexities(words, self._counted(batch))
        judged = np.array([len(each) >= self.judged_from for each in words])
        ratios = np.array(
            [_ratio(text) if long else np.nan for text, long in zip(texts, judged, strict=True)]
        )
        return {"perplexity": np.where(judged, perplexities, np.nan), "zlib": ratios}

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield rows outside of the bounds."""
        with opened_columns(folder) as connection:
            connection.execute("create view judged as select * from columns where not isnan(perplexity)")
            low, high = self._bounds(next(records(connection, _quantiles(self.low, self.high))))
            limits = (low, high, *self.zlib_ratio)
            parts = [
                f"select number, {place} as place, {column} as value from judged "
                f"where {column} {sign} {limit!r}"
                for place, ((_, column, sign), limit) in enumerate(zip(_RULES, limits, strict=True))
                if limit is not None
            ]
            query = f"select number, min(place), min_by(value, place) from ({' union all '.join(parts)})"
            for number, place, value in records(connection, f"{query} group by number order by number"):
                yield Removal(number, _RULES[place][0], self._why(place, value, limits[place]))

    def _bounds(self, quantiles: Sequence[float | None]) -> tuple[float | None, float | None]:
        """Return the least and greatest perplexity; None where there is no bound."""
        if self.unit == "perplexity":
            return self.low or None, self.high
        return (quantiles[0] if self.low > 0 else None), (quantiles[1] if self.high < 1 else None)

    def _why(self, place: int, value: float, limit: float | None) -> str:
        _, column, sign = _RULES[place]
        name = "perplexity" if column == "perplexity" else "zlib ratio"
        digits = ".1f" if column == "perplexity" else ".2f"
        compared = "less" if sign == "<" else "more"
        share = (self.low, self.high)[place] if place < 2 and self.unit == "quantile" else None
        of = f", the quantile {share:g} of the judged rows" if share is not None else ""
        return f"{name} {value:{digits}}, {compared} than {limit:{digits}}{of}"

    def _counted(self, batch: Batch) -> "np.ndarray":
        """Return which rows are among the counted ones."""
        import numpy as np
        from xxhash import xxh3_64_intdigest

        if self._every < 2:
            return np.full(len(batch), self._every == 1)
        return np.array([xxh3_64_intdigest(source.text.encode()) % self._every == 0 for source in batch])


def _text(row: Row, part: Part) -> str:
    return "\n".join(texts_of(row, part))


def _ratio(text: str) -> float:
    data = text.encode()
    return len(zlib.compress(data)) / len(data)


def _quantiles(low: float, high: float) -> str:
    shares = (min(share, 1.0) for share in (low, high))
    return f"select {', '.join(f'quantile_cont(perplexity, {share!r})' for share in shares)} from judged"


def _referred(reference: Source) -> Iterator[list[str]]:
    """Yield the words of each row of the reference; rows in no known form are left out."""
    for line in Files(train=(reference,), test_fraction=0).read("train"):
        if line.problem is None:
            try:
                row, _ = read_row(line.raw, line.ignore)
            except DataError:
                continue
            yield words_of(_text(row, "all"))
