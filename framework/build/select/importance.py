"""``select=importance``: a sample of the rows that is distributed like a few examples."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, PrivateAttr

from framework.build.clean import Batch
from framework.build.data.files import Sources
from framework.build.select.examples import batch_texts, example_texts, require_examples, row_texts
from framework.build.select.ranked import Ranked, draws
from framework.build.select.word_weights import word_counts

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

_PLACES = 10_000
"""As in the paper."""


class Importance(Ranked):
    """Sample rows by importance weights over hashed n-grams (DSIR; Xie et al. 2023, arXiv:2302.03169).

    A row's weight is the ratio of its probability among the examples to that among the rows, both by counts
    of words and pairs of words. Rows are drawn without replacement by the Gumbel top-k trick, so that what is
    taken varies like the examples, where ``target`` takes the nearest rows alone.
    """

    seconds_per_row: ClassVar[float] = 1.5e-4
    order: ClassVar[str] = "score + noise desc"

    target: Sources
    """Rows like those that the model should be good at: files or folders as ``data.train`` takes them; some
    hundred are enough. Do not give the test rows: the score would say how well they were copied."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """What is drawn."""

    _ratios: "np.ndarray | None" = PrivateAttr(None)

    def opened(self, rows: Path) -> Self:
        """Return the option with the log ratio of each n-gram.

        Raises:
            DataError: an example cannot be read, or none has words.
            SourceError: a file is missing.
        """
        import numpy as np

        raw, wanted = np.ones(_PLACES), np.ones(_PLACES)
        for texts in row_texts(rows, self.on):
            raw += _counts(texts).sum(axis=0).A1
        for texts in example_texts(self.target, self.on, "select.importance.target"):
            wanted += _counts(texts).sum(axis=0).A1
        require_examples(bool(wanted.sum() > _PLACES), "select.importance.target")
        copy = self.model_copy()
        copy._ratios = np.log(wanted / wanted.sum()) - np.log(raw / raw.sum())
        return copy

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return the log weight of each row, and the noise that is added to draw."""
        import numpy as np

        assert self._ratios is not None, "columns is for what opened() returns"
        uniform = (draws(batch, self.seed).astype(np.float64) + 0.5) / 2.0**64
        noise = -np.log(-np.log(np.clip(uniform, 1e-18, 1 - 1e-16)))
        return {"score": _counts(batch_texts(batch, self.on)) @ self._ratios, "noise": noise}


def _counts(texts: list[str]) -> "csr_matrix":
    return word_counts(texts, 2, _PLACES)
