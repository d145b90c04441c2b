"""``select=target``: the rows whose words are most like those of a few examples."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PrivateAttr

from framework.build.clean import Batch
from framework.build.data.files import Sources
from framework.build.select.examples import batch_texts, example_texts, require_examples, row_texts
from framework.build.select.ranked import Ranked
from framework.build.select.word_weights import PLACES, TfIdf

if TYPE_CHECKING:
    import numpy as np


class Target(Ranked):
    """Take the rows with the largest cosine to the mean of the examples, over TF-IDF weights of words.

    Without examples, TF-IDF says nothing about a row's worth, so ``target`` has no default.
    """

    seconds_per_row: ClassVar[float] = 1.5e-4

    target: Sources
    """Rows like those that the model should be good at: files or folders as ``data.train`` takes them; some
    hundred are enough. Do not give the test rows: the score would say how well they were copied."""

    _direction: "np.ndarray | None" = PrivateAttr(None)
    _tf_idf: TfIdf | None = PrivateAttr(None)

    def opened(self, rows: Path) -> Self:
        """Return the option with each word's weight in *rows*, and the direction of the examples.

        Raises:
            DataError: an example cannot be read, or none has words.
            SourceError: a file is missing.
        """
        import numpy as np

        tf_idf = TfIdf.of(row_texts(rows, self.on))
        direction = np.zeros(PLACES)
        for texts in example_texts(self.target, self.on, "select.target.target"):
            direction += tf_idf.weights(texts).sum(axis=0).A1
        require_examples(bool(direction.any()), "select.target.target")
        copy = self.model_copy()
        copy._tf_idf, copy._direction = tf_idf, direction / np.linalg.norm(direction)
        return copy

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return the cosine of each row, in [0, 1]; 0 for a row without words."""
        assert self._tf_idf is not None, "columns is for what opened() returns"
        return {"score": self._tf_idf.weights(batch_texts(batch, self.on)) @ self._direction}
